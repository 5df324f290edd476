//! What is wrong with a configuration is told at once and by name.

use std::collections::HashMap;
use std::ffi::OsString;
use std::time::Duration;

use tenant_service::{Mode, Problems, Settings};

fn parse(text: &str, variables: &[(&str, &str)]) -> Result<Settings, Problems> {
    let variables: HashMap<_, _> = variables.iter().copied().collect();
    Settings::parse(text, |name| variables.get(name).map(OsString::from))
}

#[test]
fn the_file_that_comes_along_says_what_the_defaults_are() {
    let text = include_str!("../../config.yaml");
    let (file, default) = (parse(text, &[]).unwrap(), Settings::default());
    assert_eq!(file.live, default.live);
    assert_eq!(file.cache, default.cache);
    assert_eq!(format!("{file:?}"), format!("{default:?}"));
}

#[test]
fn the_environment_goes_before_the_file() {
    let text = "
        listen_addr: 127.0.0.1:1
        resolver: direct
        database: { path: /file.sqlite }
        cache: { redis_url: 'redis://file:6379', max_capacity: 7, namespace: mine }
        ttl: { tokens_secs: 60 }";
    let settings = parse(
        text,
        &[
            ("LISTEN_ADDR", "127.0.0.1:2"),
            ("ADMIN_ADDR", "127.0.0.1:3"),
            ("ADMIN_TOKEN", "open-sesame"),
            ("DATABASE_PATH", "/variable.sqlite"),
            ("REDIS_URL", "redis://variable:6379"),
            ("RESOLVER", "shadow"),
            ("CACHE_NEAR", "off"),
        ],
    );
    let settings = settings.unwrap();
    assert_eq!((&*settings.listen_addr, &*settings.admin_addr), ("127.0.0.1:2", "127.0.0.1:3"));
    assert_eq!(settings.database_path.unwrap().to_str(), Some("/variable.sqlite"));
    assert_eq!(settings.cache.redis_url.as_deref(), Some("redis://variable:6379"));
    assert_eq!((settings.cache.max_capacity, settings.cache.near), (Some(7), false));
    assert_eq!(settings.cache.namespace, "mine");
    assert_eq!(settings.live.resolver, Mode::Shadow);
    assert_eq!(settings.live.token_ttl, Duration::from_secs(60));
    assert_eq!(settings.admin_token.unwrap().reveal(), "open-sesame");
}

#[test]
fn variables_are_put_into_the_file() {
    let text = "
        database: { path: '${DATA:-/data}/tenants.sqlite', connections: '${CONNECTIONS:-3}' }
        cache:
          max_capacity: ${ENTRIES:-500}";
    let settings = parse(text, &[("ENTRIES", "9")]).unwrap();
    assert_eq!(settings.database_path.unwrap().to_str(), Some("/data/tenants.sqlite"));
    assert_eq!((settings.database_connections, settings.cache.max_capacity), (3, Some(9)));
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let text = "
listen_adr: 127.0.0.1:8080
admin_addr: 8081
resolver: fast
database:
  connections: '4'
  pool: 7
cache:
  max_capacity: many
  default_ttl_secs: 0
  capacity: 1
ttl:
  tokens_secs: 3600s
  jitter: 1.5
limits: 7
shadow: [1, 2]
log: loud
";
    let Problems(problems) =
        parse(text, &[("LISTEN_ADDR", "here"), ("CACHE_NEAR", "maybe")]).unwrap_err();
    for (number, expected) in [
        "LISTEN_ADDR is wrong: it must be an address and a port",
        "line 3: admin_addr is \"8081\"; it must be an address and a port",
        "line 4: resolver is \"fast\"; it must be direct, cached or shadow",
        "line 17: log is \"loud\"; it must be error, warn, info, debug or trace",
        "line 6: database.connections is \"4\" in quotes; it must be a whole number from 1 to 64",
        "line 7: database.pool is not known here; known are path, connections, organisations",
        "line 13: ttl.tokens_secs is \"3600s\"; it must be a number of seconds from 0.001 to 86400",
        "line 14: ttl.jitter is \"1.5\"; it must be a number from 0 to 0.9",
        "line 15: limits must be a section",
        "line 16: shadow must be a section",
        "line 2: listen_adr is not known here; known are listen_addr",
        "line 11: cache.capacity is wrong: unknown field `capacity`, expected one of",
        "line 10: cache.default_ttl_secs is wrong: configuration: default_ttl_secs",
        "line 9: cache.max_capacity is wrong: invalid type: string \"many\", expected u64",
        "CACHE_NEAR is \"maybe\"; it must be on or off",
    ]
    .into_iter()
    .enumerate()
    {
        assert!(
            problems.iter().any(|problem| problem.contains(expected)),
            "{number} {expected}: {problems:#?}"
        );
    }
    assert_eq!(problems.len(), 15, "{problems:#?}");
}

#[test]
fn secrets_are_never_shown() {
    for (text, variables) in [
        ("admin_token: too short", vec![]),
        ("", vec![("ADMIN_TOKEN", "too short")]),
        ("cache: { redis_url: 'redis://:s3cret@[' }", vec![]),
        ("", vec![("REDIS_URL", "redis://:s3cret@[")]),
    ] {
        let problems = parse(text, &variables).unwrap_err().to_string();
        assert!(!problems.contains("too short"), "{problems}");
        assert!(!problems.contains("s3cret"), "{problems}");
    }
    let settings =
        parse("admin_token: very-secret", &[("REDIS_URL", "redis://:s3cret@host")]).unwrap();
    let shown = format!("{settings:?}");
    assert!(!shown.contains("very-secret") && !shown.contains("s3cret"), "{shown}");
}

#[test]
fn switches_are_on_and_off_and_text_may_look_like_something_else() {
    for (text, near) in [("off", false), ("on", true), ("false", false), ("true", true)] {
        let settings = parse(&format!("cache: {{ near: {text}, start_degraded: {text} }}"), &[]);
        let cache = settings.unwrap().cache;
        assert_eq!((cache.near, cache.start_degraded), (near, near), "{text}");
    }
    let cache = parse("cache: { namespace: on, name: 7 }", &[]).unwrap().cache;
    assert_eq!((&*cache.namespace, &*cache.name), ("on", "7"));
    for wrong in ["near: 'off'", "near: 1", "near: maybe", "max_capacity: on"] {
        let problems = parse(&format!("cache: {{ {wrong} }}"), &[]).unwrap_err();
        assert!(problems.to_string().contains("is wrong: invalid type"), "{wrong}: {problems}");
    }
}

#[test]
fn shadow_mode_waits_longer_than_a_change_may_take() {
    let text =
        |mode: &str, grace: f64| format!("resolver: {mode}\ncache: {{ near_grace_secs: {grace} }}");
    assert!(parse(&text("shadow", 1.4), &[]).is_ok());
    assert!(parse(&text("cached", 5.0), &[]).is_ok(), "nothing is compared");
    let problems = parse(&text("shadow", 5.0), &[]).unwrap_err().to_string();
    assert!(problems.contains("shadow.settle_secs is 3; it must be more than 6.5"), "{problems}");
    let longer = format!("{}\nshadow: {{ settle_secs: 7 }}", text("shadow", 5.0));
    assert!(parse(&longer, &[]).is_ok());
}

#[test]
fn the_whole_of_a_shutdown_stays_under_half_a_minute() {
    assert!(parse("shutdown_secs: 20", &[]).is_ok());
    let problems = parse("shutdown_secs: 20.1", &[]).unwrap_err().to_string();
    assert!(problems.contains("it must be a number of seconds from 0.1 to 20"), "{problems}");
}
