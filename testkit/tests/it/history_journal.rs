//! A history in a file.

use std::fs;

use cache_core::{BusEvent, Selector};
use cache_testkit::history::{Action, History, Mode, Reader, Record, Recorder, check};

fn in_file(name: &str, write: impl FnOnce(&Recorder, &Recorder)) -> History {
    let name = format!("cache-testkit-{name}-{}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let open = || Recorder::in_file(&path).unwrap();
    write(&open(), &open());
    let history = History::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    history
}

#[test]
fn what_was_written_is_read() {
    let actions = [
        Action::write("k", 7),
        Action::Unanswered { key: "k".into(), value: 8 },
        Action::remove(Selector::Keys(vec!["k".into(), "l m".into()])),
        Action::remove(Selector::Prefix(String::new())),
        Action::remove(Selector::All),
        Action::Publish(Selector::key("k")),
        Action::Deliver(BusEvent::Removed(Selector::Prefix("k".into()))),
        Action::Deliver(BusEvent::Connected),
        Action::Deliver(BusEvent::Disconnected),
        Action::Deliver(BusEvent::Filled(Vec::new())),
    ];
    let history = in_file("actions", |recorder, _| {
        let first = recorder.begin(3, Action::missed("k"));
        let second =
            recorder.begin(4, Action::Read { key: "k".into(), found: None, by: Reader::Load });
        second.end_found(Some(9));
        first.end_found(None);
        assert_eq!(recorder.load(5, "k", || 6), 6);
        actions.iter().for_each(|action| recorder.begin(0, action.clone()).end());
        drop(recorder.begin(0, Action::missed("k")));
    });
    let at = |node, began, ended, action| Record { node, began, ended, action };
    let mut expected = vec![
        at(3, 0, Some(3), Action::missed("k")),
        at(4, 1, Some(2), Action::got("k", 9)),
        at(5, 4, Some(5), Action::load("k", 6)),
    ];
    expected.extend(
        (3_u64..)
            .zip(actions)
            .map(|(at_line, action)| at(0, at_line * 2, Some(at_line * 2 + 1), action)),
    );
    expected.push(at(0, 26, None, Action::missed("k")));
    assert_eq!(history.records(), expected);
}

#[test]
fn two_recorders_of_one_process_keep_their_calls_apart() {
    let history = in_file("two", |one, other| {
        let first = one.begin(0, Action::missed("k"));
        let second = other.begin(1, Action::missed("l"));
        first.end_found(Some(1));
        second.end_found(Some(2));
    });
    let at = |node, began, ended, action| Record { node, began, ended: Some(ended), action };
    let expected = [at(0, 0, 2, Action::found("k", 1)), at(1, 1, 3, Action::found("l", 2))];
    assert_eq!(history.records(), expected);
}

/// As a process that is killed would: what it began has no end.
fn killed(gone: bool) -> History {
    in_file(&format!("killed-{gone}"), |own, killed| {
        drop(killed.begin(1, Action::write("k", 1)));
        drop(killed.begin(1, Action::remove(Selector::All)));
        if gone {
            own.gone(1);
        }
        own.begin(0, Action::write("k", 2)).end();
        own.begin(0, Action::missed("k")).end_found(Some(1));
    })
}

#[test]
fn what_a_killed_process_wrote_may_arrive_until_it_cannot_any_more() {
    check(&killed(false), Mode::Strict).unwrap();
    check(&killed(true), Mode::Strict).unwrap_err();
}

#[test]
fn what_a_killed_process_did_not_end_ends_nothing() {
    let history = in_file("ends-nothing", |own, killed| {
        own.begin(0, Action::write("k", 2)).end();
        drop(killed.begin(1, Action::write("k", 1)));
        drop(killed.begin(1, Action::remove(Selector::All)));
        own.gone(1);
        own.begin(0, Action::missed("k")).end_found(Some(2));
        own.begin(0, Action::missed("k")).end_found(Some(1));
    });
    check(&history, Mode::Strict).unwrap();
}
