//! `write`: all of it in time, or nothing.

use crate::fixture::{KEY, LONG, ONE, SHORT, between, redis};
use crate::script::{LeaseReply, Put, Write};
use crate::wire::Expiry;

const OTHER: &str = "ns:other";

fn put(key: &str, record: &[u8], expiry: Expiry) -> Put {
    Put { key: key.to_owned(), record: record.to_vec(), expiry }
}

#[test]
fn records_are_put_with_their_ttl() {
    let mut r = redis();
    let (first, last) = (r.record(1_000, 60_000), r.record(2_000, 60_000));
    let puts = [
        put(KEY, &first, Expiry::Never),
        put(OTHER, &first, Expiry::Never),
        put("ns:gone", &[], Expiry::Past),
        put(KEY, &last, Expiry::After(60_000)),
    ];
    r.typed::<()>("SET ns:gone 1");
    let now = r.now();
    for latest in [None, Some(now + LONG)] {
        let write = Write { puts: &puts, latest };
        assert_eq!(write.by_source().query::<u8>(&mut r.connection).expect("a reply"), 1);
        assert_eq!(write.by_hash().query::<u8>(&mut r.connection).expect("a reply"), 1);
        assert_eq!(r.get(), last, "of a key that is named twice the last record stays");
        between(59_000, r.pttl(), 60_000);
        assert_eq!(r.typed::<Vec<u8>>(&format!("GET {OTHER}")), first);
        assert_eq!(r.typed::<i64>(&format!("PTTL {OTHER}")), -1);
        assert!(!r.typed::<bool>("EXISTS ns:gone"));
        r.typed::<()>("FLUSHDB");
    }
}

#[test]
fn a_write_that_comes_late_changes_nothing() {
    let mut r = redis();
    let record = r.record(1_000, 60_000);
    let puts = [put(KEY, &record, Expiry::Never), put(OTHER, &[], Expiry::Past)];
    r.typed::<()>(&format!("SET {OTHER} 1"));
    assert_eq!(r.lease(ONE, LONG), LeaseReply::Granted);
    let latest = Some(r.now() - SHORT);
    let write = Write { puts: &puts, latest };
    assert_eq!(write.by_source().query::<u8>(&mut r.connection).expect("a reply"), 0);
    assert!(r.typed::<bool>(&format!("EXISTS {OTHER}")));
    assert!(r.fill(ONE, &record), "the lease is as good as it was");
}

#[test]
fn a_write_does_what_the_plain_commands_do() {
    let mut r = redis();
    let record = r.record(1_000, 60_000);
    for expiry in [Expiry::Never, Expiry::After(60_000), Expiry::Past] {
        for plain in [false, true] {
            r.typed::<()>(&format!("RPUSH {KEY} 1"));
            let put = [put(KEY, &record, expiry)];
            let cmd = match plain {
                true => put[0].whenever(),
                false => Write { puts: &put, latest: None }.by_source(),
            };
            cmd.query::<redis::Value>(&mut r.connection).expect("a reply");
            assert_eq!(r.exists(), expiry != Expiry::Past);
            assert_eq!(r.pttl() > 0, expiry == Expiry::After(60_000));
            r.typed::<()>(&format!("DEL {KEY}"));
        }
    }
}
