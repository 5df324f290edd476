//! The steps by which a store of two tiers writes, removes and reads (`cache-hybrid/src/write.rs`),
//! with the near tier's commits under the stripes and the far tier a register of its own.

use std::sync::Arc;

use shuttle::sync::Mutex;
use shuttle::thread;

use crate::randomly;
use crate::stripes::Stripes;

const HASH: u64 = 0;
const KEY: &str = "key";

struct Tiers {
    stripes: Stripes,
    near: Mutex<Option<u64>>,
    far: Mutex<Option<u64>>,
}

/// How a write ends in the near tier.
#[derive(Clone, Copy)]
enum End {
    RevokingOthers,
    /// A bug: others' leases stay.
    RevokingNobody,
}

impl Tiers {
    fn holding(value: Option<u64>) -> Arc<Self> {
        Arc::new(Self { stripes: Stripes::new(), near: Mutex::new(None), far: Mutex::new(value) })
    }

    fn purge(&self) {
        self.stripes.revoke(HASH, |_| *self.near.lock().unwrap() = None);
    }

    fn read(&self) -> Option<u64> {
        if let Some(held) = *self.near.lock().unwrap() {
            return Some(held);
        }
        let lease = self.stripes.generation(HASH);
        let found = *self.far.lock().unwrap();
        if found.is_some() {
            self.stripes.commit(HASH, KEY, lease, |_| *self.near.lock().unwrap() = found);
        }
        found
    }

    fn look(&self) {
        let _ = self.read();
    }

    fn remove(&self) {
        self.purge();
        *self.far.lock().unwrap() = None;
        self.purge();
    }

    fn write(&self, value: u64, end: End) {
        self.purge();
        let lease = self.stripes.generation(HASH);
        *self.far.lock().unwrap() = Some(value);
        match end {
            End::RevokingOthers => self.stripes.revoke_others(HASH, KEY, lease, |valid, _| {
                *self.near.lock().unwrap() = valid.then_some(value);
            }),
            End::RevokingNobody => {
                let kept = |_: &mut _| *self.near.lock().unwrap() = Some(value);
                self.stripes.commit(HASH, KEY, lease, kept);
            }
        }
    }

    fn assert_in_agreement(&self) {
        let (near, far) = (*self.near.lock().unwrap(), *self.far.lock().unwrap());
        assert!(near.is_none() || near == far, "near {near:?}, far {far:?}");
    }
}

type Call = fn(&Tiers);

fn at_once(tiers: &Arc<Tiers>, calls: &[Call]) {
    let spawn = |call: Call| {
        let tiers = Arc::clone(tiers);
        thread::spawn(move || call(&tiers))
    };
    let threads: Vec<_> = calls.iter().map(|call| spawn(*call)).collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn p1_13_overlapping_writes_and_reads_end_in_agreement() {
    randomly(|| {
        let tiers = Tiers::holding(Some(1));
        let (first, second): (Call, Call) = (
            |tiers| tiers.write(2, End::RevokingOthers),
            |tiers| {
                tiers.write(3, End::RevokingOthers);
            },
        );
        at_once(&tiers, &[first, second, |tiers| tiers.look()]);
        tiers.assert_in_agreement();
    });
}

#[test]
fn p1_07_and_14_a_removal_among_writes_and_reads() {
    randomly(|| {
        let tiers = Tiers::holding(Some(1));
        let remover = thread::spawn({
            let tiers = Arc::clone(&tiers);
            move || {
                tiers.remove();
                assert_ne!(tiers.read(), Some(1), "old after the removal returned");
            }
        });
        at_once(&tiers, &[|tiers| tiers.look(), |tiers| tiers.write(2, End::RevokingOthers)]);
        remover.join().unwrap();
        tiers.assert_in_agreement();
        assert_ne!(tiers.read(), Some(1));
    });
}

#[test]
#[should_panic(expected = "near")]
fn a_write_that_leaves_others_their_leases_is_found() {
    randomly(|| {
        let tiers = Tiers::holding(Some(1));
        let write: Call = |tiers| tiers.write(2, End::RevokingNobody);
        at_once(&tiers, &[write, |tiers| tiers.look()]);
        tiers.assert_in_agreement();
    });
}
