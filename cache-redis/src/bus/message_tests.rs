//! What is written and what is read.

use super::*;

const ME: Sender = Sender(0x0123_4567_89ab_cdef);
const OTHER: Sender = Sender(7);

fn keys(keys: &[&str]) -> Selector {
    Selector::Keys(keys.iter().map(|key| (*key).to_owned()).collect())
}

fn heard(what: Selector) -> Heard {
    Heard::Event(BusEvent::Removed(what), None)
}

const AGO: Duration = Duration::from_millis(250);

fn removed(from: Sender, what: &Selector) -> Option<Vec<String>> {
    let mut number = 6;
    super::removed(from, what, || {
        number += 1;
        Place { number, ago: Some(AGO) }
    })
}

/// What `FORMAT.md` shows. Whoever has to change this makes another version.
#[test]
fn the_messages_of_the_format_are_written_so() {
    let golden = [
        (keys(&["org:acme", "a\"b"]), r#""removed":{"keys":["org:acme","a\"b"]}}"#),
        (Selector::Prefix("org:".to_owned()), r#""removed":{"prefix":"org:"}}"#),
        (Selector::All, r#""removed":"all"}"#),
    ];
    let head = r#"{"v":1,"from":"0123456789abcdef","#;
    for (what, tail) in golden {
        let message = format!(r#"{head}"number":7,"ago":250,{tail}"#);
        assert_eq!(removed(ME, &what), Some(vec![message.clone()]));
        let place = Place { number: 7, ago: Some(AGO) };
        let event = BusEvent::Removed(what.clone());
        assert_eq!(read(OTHER, message.as_bytes()), Heard::Event(event, Some((ME, place))));
        assert_eq!(read(ME, message.as_bytes()), Heard::Own(Some(7)));
        // As it was before there were numbers.
        assert_eq!(read(OTHER, format!("{head}{tail}").as_bytes()), heard(what));
    }
    for (void, tail) in [
        (
            vec![Place { number: 3, ago: None }, Place { number: 5, ago: Some(AGO) }],
            r#""void":[3,5],"before":[null,250],"removed":{"keys":[]}}"#,
        ),
        (vec![], r#""removed":{"keys":[]}}"#),
    ] {
        let message = format!(r#"{head}"last":7,"ago":250,{tail}"#);
        let told = Mark { last: 7, ago: AGO, void };
        assert_eq!(mark(ME, &told), message);
        assert_eq!(read(OTHER, message.as_bytes()), Heard::Mark(ME, told));
        assert_eq!(read(ME, message.as_bytes()), Heard::OwnMark(7));
    }
    let first = super::removed(ME, &Selector::All, || Place { number: 1, ago: None });
    assert_eq!(first, Some(vec![format!(r#"{head}"number":1,"removed":"all"}}"#)]));
    let message = format!(r#"{head}"filled":["org:acme"]}}"#);
    assert_eq!(filled(ME, "org:acme"), message);
    let event = BusEvent::Filled(vec!["org:acme".to_owned()]);
    assert_eq!(read(OTHER, message.as_bytes()), Heard::Event(event, None));
}

#[test]
fn what_is_no_number_is_no_harm() {
    let all = r#""removed":"all"}"#;
    for head in [
        r#""number":7,"#,
        r#""from":"me","number":7,"#,
        r#""from":"0123456789abcde+","number":7,"#,
        r#""from":"0000000000000007","number":"7","#,
        r#""from":"0000000000000007","number":-7,"ago":[],"#,
        r#""from":"0000000000000007","number":0,"#,
        r#""from":"0000000000000007","number":1e99,"void":{},"#,
        r#""from":"0000000000000007","last":7,"ago":1,"#,
    ] {
        let message = format!(r#"{{"v":1,{head}{all}"#);
        assert_eq!(read(ME, message.as_bytes()), heard(Selector::All), "{message}");
    }
    let nothing = r#"{"v":1,"last":7,"ago":1,"removed":{"keys":[]}}"#;
    assert_eq!(read(ME, nothing.as_bytes()), heard(keys(&[])));
}

#[test]
fn p2_07_a_bare_string_is_a_key() {
    for key in ["org:acme", "7", "{org}:acme", "[1]", " x ", "Ærø", "null", "{", "\"x\""] {
        assert_eq!(read(ME, key.as_bytes()), heard(keys(&[key])), "{key}");
    }
    let longest = "k".repeat(MAX_KEY_BYTES);
    assert_eq!(read(ME, longest.as_bytes()), heard(keys(&[&longest])));
}

/// `redis-cli -x PUBLISH` sends what it reads, to the newline at its end.
#[test]
fn a_newline_behind_a_bare_string_may_not_belong_to_the_key() {
    for (text, said) in [
        ("k\n", &["k\n", "k"][..]),
        ("k\r\n", &["k\r\n", "k"]),
        ("k\n\n", &["k\n\n", "k\n"]),
        ("\n", &["\n"]),
        ("\r\n", &["\r\n"]),
    ] {
        assert_eq!(read(ME, text.as_bytes()), heard(keys(said)), "{text:?}");
    }
    let longest = "k".repeat(MAX_KEY_BYTES);
    assert_eq!(read(ME, format!("{longest}\n").as_bytes()), heard(keys(&[&longest])));
}

#[test]
fn p2_08_what_is_not_understood_is_no_event() {
    let long = "k".repeat(MAX_KEY_BYTES + 1);
    let too_long = format!(r#"{{"v":1,"removed":{{"keys":["{}"]}}}}"#, "k".repeat(MAX_BYTES));
    let deep = format!(r#"{{"v":1,"x":{}"#, "[".repeat(100_000));
    for text in [
        r#"{"v":2,"from":"0000000000000007","removed":"all"}"#,
        r#"{"v":"1","removed":"all"}"#,
        r#"{"v":-1,"removed":"all"}"#,
        r#"{"removed":"all"}"#,
        r#"{"v":1}"#,
        r#"{"v":1,"removed":null}"#,
        r#"{"v":1,"removed":"everything"}"#,
        r#"{"v":1,"removed":{"tag":"x"}}"#,
        r#"{"v":1,"removed":{"keys":"a"}}"#,
        r#"{"v":1,"removed":{"keys":[1]}}"#,
        r#"{"v":1,"removed":{"keys":["a"],"prefix":"b"}}"#,
        r#"{"v":1,"removed":"all","filled":["a"]}"#,
        r#"{"v":1,"filled":7}"#,
        r#"{"v":1,"from":7,"removed":"all"}"#,
        r#"{"v":1,"removed":"all""#,
        " { \"v\": 1",
        "{}",
        "{ }",
        "",
        &long,
        &too_long,
        &deep,
    ] {
        assert!(matches!(read(ME, text.as_bytes()), Heard::Unreadable(_)), "{text:.80}");
    }
    assert_eq!(read(ME, b"\xFF"), Heard::Unreadable("not UTF-8"));
}

#[test]
fn what_others_add_and_leave_out_is_no_harm() {
    let text = "{ \"removed\" : \"all\", \"v\": 1, \"at\": [1] }";
    assert_eq!(read(ME, text.as_bytes()), heard(Selector::All));
}

#[test]
fn random_bytes_never_panic() {
    let mut random = fastrand::Rng::with_seed(7);
    let message = removed(OTHER, &keys(&["a", "b"])).unwrap_or_default().concat();
    let goods = [
        message,
        mark(OTHER, &Mark { last: 7, ago: AGO, void: vec![Place { number: 3, ago: Some(AGO) }] }),
    ];
    for good in goods.iter().cycle().take(100_000) {
        let mut bytes = good.clone().into_bytes();
        for _ in 0..random.usize(..4) {
            let position = random.usize(..bytes.len());
            bytes[position] = random.u8(..);
        }
        bytes.truncate(random.usize(..=good.len()));
        let _ = read(ME, &bytes);
    }
}

#[test]
fn long_lists_go_in_several_messages() {
    let awkward: Vec<_> = (0..3_000).map(|n| format!("{n}{}", "\u{1}\"é".repeat(200))).collect();
    let messages = removed(ME, &Selector::Keys(awkward.clone())).expect("known");
    assert!(messages.len() > 1);
    let mut told = Vec::new();
    for message in messages {
        assert!(message.len() <= MAX_BYTES, "{}", message.len());
        match read(OTHER, message.as_bytes()) {
            Heard::Event(BusEvent::Removed(Selector::Keys(keys)), _) => told.extend(keys),
            other => unreachable!("{other:?}"),
        }
    }
    assert_eq!(told, awkward);
    assert_eq!(removed(ME, &Selector::Keys(Vec::new())), Some(Vec::new()));
    assert_eq!(removed(ME, &Selector::Prefix("p".repeat(1_025))), Some(Vec::new()));
}
