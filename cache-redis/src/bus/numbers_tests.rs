//! What is told of numbers, and when.

use futures_util::FutureExt;

use super::*;

const PAUSE: Duration = Duration::from_millis(100);
const LONG: Duration = Duration::from_secs(3_600);

fn given(numbers: &Arc<Numbers>, count: usize) -> Given {
    let mut given = Given::new(numbers);
    for _ in 0..count {
        given.next();
    }
    given
}

/// The next mark, and how long it took; it is published.
async fn next_mark(numbers: &Numbers) -> (u64, Vec<u64>, Duration) {
    let begun = Instant::now();
    let mark = numbers.mark().await;
    numbers.marked(&mark);
    let void = mark.void.iter().map(|void| void.number).collect();
    (mark.last, void, begun.elapsed())
}

#[tokio::test]
async fn marks_follow_what_was_published_and_end() {
    let numbers = Arc::new(Numbers::new(PAUSE, LONG));
    assert_eq!(numbers.mark().now_or_never(), None, "an idle sender says nothing");
    given(&numbers, 2).told();
    for _ in 0..MARKS {
        let (last, void, took) = next_mark(&numbers).await;
        assert_eq!((last, void), (2, vec![]));
        assert!(took >= PAUSE / 2, "{took:?}");
    }
    assert_eq!(numbers.state.lock().due, None);
    // One that could not be published is said again.
    given(&numbers, 1).told();
    for _ in 0..=MARKS {
        assert_eq!(numbers.mark().await.last, 3);
    }
    assert_eq!(numbers.published(), 3);
}

#[tokio::test]
async fn a_mark_waits_for_what_is_under_way() {
    let numbers = Arc::new(Numbers::new(PAUSE, LONG));
    let first = given(&numbers, 1);
    given(&numbers, 1).told();
    assert!(numbers.make_mark(Instant::now()).is_none());
    first.told();
    let slow = given(&numbers, 1);
    given(&numbers, 2).told();
    for _ in 0..=MARKS {
        assert_eq!(next_mark(&numbers).await.0, 2);
    }
    slow.told();
    assert_eq!(next_mark(&numbers).await.0, 5);
}

#[tokio::test]
async fn what_was_not_published_is_void_and_told_soon() {
    let numbers = Arc::new(Numbers::new(Duration::from_secs(60), LONG));
    given(&numbers, 1).told();
    let mut partly = given(&numbers, 3);
    partly.told_one();
    drop(partly);
    let (last, void, took) = next_mark(&numbers).await;
    assert_eq!((last, void), (4, vec![3, 4]));
    assert!(took < Duration::from_secs(10), "{took:?}");
    drop(given(&numbers, MOST_VOID * 2));
    assert_eq!(numbers.state.lock().void.len(), MOST_VOID);
    assert_eq!(numbers.published(), 2);
}

#[test]
fn each_place_tells_when_the_latest_below_it_was_published() {
    let (numbers, start) = (Numbers::new(PAUSE, LONG), Instant::now());
    let at = |second| start + Duration::from_secs(second);
    let ago = |second| Some(Duration::from_secs(second));
    let given = |second, number, ago| {
        assert_eq!(numbers.next(at(second)), Place { number, ago }, "at {second}");
    };
    let mark = |second| {
        let Mark { last, ago, void } = numbers.make_mark(at(second)).unwrap();
        (last, ago.as_secs(), void)
    };
    given(0, 1, None);
    numbers.settle(1, true, at(1));
    // None was.
    given(2, 2, None);
    assert_eq!(mark(2), (1, u64::MAX, vec![Place { number: 1, ago: None }]));
    numbers.settle(2, false, at(3));
    given(5, 3, ago(2));
    // The one under way may be published at any moment.
    given(5, 4, ago(0));
    numbers.settle(4, false, at(6));
    given(7, 5, ago(0));
    numbers.settle(5, true, at(7));
    assert_eq!(mark(8), (2, 5, vec![Place { number: 1, ago: None }]));
    numbers.settle(3, true, at(9));
    given(9, 6, ago(3));
    let void = [(1, None), (3, ago(7)), (5, ago(4))];
    let void = void.map(|(number, ago)| Place { number, ago });
    assert_eq!(mark(10), (5, 4, void.to_vec()));
    assert!(numbers.state.lock().ahead.is_empty());
}

/// Rule 6: so what is kept is bounded by what is published in that time.
#[test]
fn what_is_under_way_for_too_long_keeps_no_mark_back() {
    let (numbers, start) = (Numbers::new(PAUSE, PAUSE), Instant::now());
    let stuck = numbers.next(start).number;
    for millis in 0..1_000 {
        let now = start + Duration::from_millis(millis);
        let number = numbers.next(now).number;
        numbers.settle(number, false, now);
        assert!(numbers.state.lock().ahead.len() <= PAUSE.as_millis() as usize + 1);
    }
    let end = start + Duration::from_secs(1);
    let mark = numbers.make_mark(end).unwrap();
    assert_eq!(
        (mark.last, mark.void.as_slice()),
        (1_001, &[Place { number: stuck, ago: None }][..])
    );
    numbers.settle(stuck, true, end);
    assert_eq!(numbers.make_mark(end).unwrap().last, 1_001, "its caller knows");
}

#[test]
fn p2_what_is_published_too_late_is_missed_by_another_number() {
    let (numbers, start) = (Numbers::new(PAUSE, PAUSE), Instant::now());
    let at = |millis| start + Duration::from_millis(millis);
    let [late, in_time] = [0, 1].map(|millis| numbers.next(at(millis)).number);
    numbers.settle(in_time, false, at(100));
    assert_eq!(numbers.make_mark(at(100)).unwrap().last, 2);
    numbers.settle(late, false, at(120));
    let mark = numbers.make_mark(at(120)).unwrap();
    assert_eq!((mark.last, mark.ago), (3, Duration::ZERO), "nobody can hear that one");
    assert_eq!(numbers.next(at(130)), Place { number: 4, ago: Some(Duration::from_millis(10)) });
}
