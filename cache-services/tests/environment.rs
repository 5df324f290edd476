//! Every variable, good and bad.

// Helpers of tests fail the test, as the tests themselves do.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::HashMap;
use std::ffi::OsString;
use std::process::Command;
use std::time::Duration;

use cache_services::{
    CacheConfig, CacheError, CacheServices, ErrorKind, MemoryBackend, TracedKeys,
};

fn read(vars: &[(&str, &str)]) -> Result<CacheConfig, CacheError> {
    let vars: HashMap<_, _> = vars.iter().copied().collect();
    CacheConfig::from_vars(|name| vars.get(name).map(OsString::from))
}

/// What `CacheServices::from_env` would say to these variables.
async fn refusal(vars: &[(&str, &str)]) -> String {
    let made = match read(vars) {
        Ok(config) => CacheServices::from_config(config).await.map(drop),
        Err(error) => Err(error),
    };
    let error = made.expect_err("these variables should be refused");
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert!(!error.is_retryable());
    error.to_string()
}

#[test]
fn without_variables_it_is_the_default() {
    let config = read(&[]).unwrap();
    assert_eq!(config, CacheConfig::default());
    assert_eq!(config.default_ttl, Duration::from_secs(300));
    assert_eq!(config.memory, MemoryBackend::Quick);
    assert!(config.near && !config.start_degraded);
    assert_eq!((config.max_capacity, config.max_weight_bytes), (None, None));
    assert_eq!((config.redis_url, config.time_to_idle), (None, None));
}

#[test]
fn every_variable_is_read() {
    let config = read(&[
        ("REDIS_URL", "redis://cache:6379/1"),
        ("CACHE_REDIS_CA", "/etc/ssl/redis.pem"),
        ("CACHE_OPERATION_TIMEOUT_SECS", "0.1"),
        ("CACHE_NAMESPACE", "billing"),
        ("CACHE_NAME", "orgs"),
        ("CACHE_TTL_SECS", "60"),
        ("CACHE_MAX_CAPACITY", "500"),
        ("CACHE_MAX_WEIGHT_BYTES", "1048576"),
        ("CACHE_IDLE_SECS", "7.5"),
        ("CACHE_MEMORY", "moka"),
        ("CACHE_NEAR", "off"),
        ("CACHE_NEAR_TTL_SECS", "20"),
        ("CACHE_NEAR_GRACE_SECS", "0.5"),
        ("CACHE_START_DEGRADED", "true"),
        ("CACHE_TRACED_KEYS", "Clear"),
    ])
    .unwrap();
    let expected = CacheConfig {
        redis_url: Some("redis://cache:6379/1".into()),
        redis_ca: Some("/etc/ssl/redis.pem".into()),
        operation_timeout: Some(Duration::from_millis(100)),
        namespace: "billing".into(),
        name: "orgs".into(),
        default_ttl: Duration::from_secs(60),
        max_capacity: Some(500),
        max_weight_bytes: Some(1_048_576),
        time_to_idle: Some(Duration::from_millis(7_500)),
        memory: MemoryBackend::Moka,
        near: false,
        near_ttl: Some(Duration::from_secs(20)),
        near_grace: Duration::from_millis(500),
        start_degraded: true,
        traced_keys: TracedKeys::Clear,
    };
    assert_eq!(config, expected);
}

#[test]
fn empty_and_blank_ones_count_as_unset() {
    let names = [
        "REDIS_URL",
        "CACHE_REDIS_CA",
        "CACHE_OPERATION_TIMEOUT_SECS",
        "CACHE_NAMESPACE",
        "CACHE_NAME",
        "CACHE_TTL_SECS",
        "CACHE_MAX_CAPACITY",
        "CACHE_MAX_WEIGHT_BYTES",
        "CACHE_IDLE_SECS",
        "CACHE_MEMORY",
        "CACHE_NEAR",
        "CACHE_START_DEGRADED",
        "CACHE_TRACED_KEYS",
    ];
    for blank in ["", "  ", "\t\n"] {
        let vars: Vec<_> = names.iter().map(|name| (*name, blank)).collect();
        assert_eq!(read(&vars).unwrap(), CacheConfig::default(), "{blank:?}");
    }
}

#[test]
fn blanks_around_a_value_and_its_case_do_not_matter() {
    assert_eq!(read(&[("CACHE_TTL_SECS", " 60\n")]).unwrap().default_ttl, Duration::from_secs(60));
    assert_eq!(read(&[("CACHE_MEMORY", " MoKa ")]).unwrap().memory, MemoryBackend::Moka);
    for (text, near) in
        [("on", true), ("TRUE", true), ("1", true), ("Off", false), ("false", false), ("0", false)]
    {
        assert_eq!(read(&[("CACHE_NEAR", text)]).unwrap().near, near, "{text}");
    }
}

#[tokio::test]
async fn the_limits_of_numbers_are_taken() {
    for vars in [
        ("CACHE_TTL_SECS", "0.001"),
        ("CACHE_TTL_SECS", "18446744073709551615"),
        ("CACHE_IDLE_SECS", "18446744073709551615"),
        ("CACHE_MAX_CAPACITY", "0"),
        ("CACHE_MAX_CAPACITY", "18446744073709551615"),
        ("CACHE_MAX_WEIGHT_BYTES", "0"),
        ("CACHE_MAX_WEIGHT_BYTES", "18446744073709551615"),
    ] {
        let services = CacheServices::from_config(read(&[vars]).unwrap()).await;
        assert!(services.is_ok(), "{vars:?}: {services:?}");
    }
}

#[tokio::test]
async fn a_bad_value_is_named_with_its_variable_and_what_would_be_right() {
    for (variable, values, wanted) in [
        (
            "CACHE_TTL_SECS",
            &["-5", "+5", "five", "5s", "1e3", "inf", "NaN", "1.2.3", "18446744073709551616"][..],
            "a number of seconds",
        ),
        ("CACHE_IDLE_SECS", &["-0.5", "soon", "10 min"], "a number of seconds"),
        (
            "CACHE_MAX_CAPACITY",
            &["-1", "+1", "1.5", "10k", "10_000", "18446744073709551616"],
            "a whole number of entries",
        ),
        ("CACHE_MAX_WEIGHT_BYTES", &["-1", "0.5", "64MB"], "a whole number of bytes"),
        ("CACHE_MEMORY", &["redis", "memcached", "quick,moka"], "quick or moka"),
        ("CACHE_NEAR", &["maybe", "2", "yes please"], "on or off"),
        ("CACHE_START_DEGRADED", &["perhaps"], "true or false"),
        ("CACHE_OPERATION_TIMEOUT_SECS", &["0", "0.0009", "60.5"], "0.001 to 60"),
        ("CACHE_NAMESPACE", &["two words", "line\nbreak"], "up to 128 bytes"),
        ("CACHE_NAME", &["two words", "line\nbreak"], "up to 128 bytes"),
        ("CACHE_TRACED_KEYS", &["yes", "plain"], "hashed or clear"),
    ] {
        for value in values {
            let message = refusal(&[(variable, value)]).await;
            for part in [variable, &format!("{value:?}"), wanted] {
                assert!(message.contains(part), "{part} is not in: {message}");
            }
        }
    }
}

#[tokio::test]
async fn a_time_of_zero_is_refused_with_the_reason() {
    for variable in ["CACHE_TTL_SECS", "CACHE_IDLE_SECS"] {
        for value in ["0", "0.0", "0.0009"] {
            let message = refusal(&[(variable, value)]).await;
            assert!(message.contains(variable), "{message}");
            assert!(message.contains("nothing would ever be found"), "{message}");
        }
    }
}

#[tokio::test]
async fn moka_has_no_bound_in_bytes() {
    let message = refusal(&[("CACHE_MEMORY", "moka"), ("CACHE_MAX_WEIGHT_BYTES", "1000")]).await;
    for part in ["CACHE_MAX_WEIGHT_BYTES", "CACHE_MEMORY", "CACHE_MAX_CAPACITY", "quick"] {
        assert!(message.contains(part), "{part} is not in: {message}");
    }
}

#[tokio::test]
async fn a_long_value_is_shortened() {
    let message = refusal(&[("CACHE_MEMORY", &"x".repeat(5_000))]).await;
    assert!(message.len() < 250 && message.contains("xxx…"), "{message}");
}

#[tokio::test]
async fn p5_01_redis_that_is_not_there_is_named_without_its_password() {
    // Nobody listens on port 1.
    for (url, shown, kind) in [
        ("redis://127.0.0.1:1/0", "127.0.0.1:1", ErrorKind::Unavailable),
        ("redis://app:s3cret@127.0.0.1:1/2", "127.0.0.1:1", ErrorKind::Unavailable),
        ("redis://:s3/cr@et@cache.internal", "REDIS_URL", ErrorKind::Config),
        ("s3cret", "REDIS_URL", ErrorKind::Config),
    ] {
        let config = read(&[("REDIS_URL", url)]).unwrap();
        let debug = format!("{config:?}");
        assert!(!debug.contains("s3"), "{debug}");
        let debug = format!("{:?}", CacheServices::builder().redis_url(url));
        assert!(!debug.contains("s3"), "{debug}");

        let error = CacheServices::from_config(config).await.expect_err("no Redis there");
        let message = format!("{error} {error:?}");
        assert_eq!(error.kind(), kind, "{message}");
        assert!(message.contains("REDIS_URL") && message.contains(shown), "{message}");
        assert!(!message.contains("s3"), "{message}");
    }
}

#[cfg(unix)]
#[test]
fn a_value_that_is_no_text_is_named_by_its_variable() {
    use std::os::unix::ffi::OsStringExt;

    for variable in ["REDIS_URL", "CACHE_NAMESPACE", "CACHE_TTL_SECS", "CACHE_MEMORY", "CACHE_NEAR"]
    {
        let bytes = || OsString::from_vec(vec![b's', b'3', 0xFF]);
        let read = CacheConfig::from_vars(|name| (name == variable).then(bytes));
        let error = read.expect_err("not UTF-8");
        assert_eq!(error.kind(), ErrorKind::Config);
        let message = error.to_string();
        assert!(message.contains(variable) && message.contains("UTF-8"), "{message}");
        assert!(!message.contains("s3"), "{message}");
    }
}

/// The real environment, which a test cannot change for itself: in a process of its own.
fn in_a_process(vars: &[(&str, &str)]) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "child_prints_what_from_env_gives", "--nocapture"])
        .env_clear()
        .envs(vars.iter().copied())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
#[ignore = "the other half of the tests below, which run it in a process of its own"]
async fn child_prints_what_from_env_gives() {
    tracing_subscriber::fmt().with_ansi(false).with_writer(std::io::stdout).init();
    match CacheServices::from_env().await {
        Ok(services) => println!("made {services:?}"),
        Err(error) => println!("refused: {error}"),
    }
}

#[test]
fn from_env_with_nothing_set_is_in_process() {
    assert!(in_a_process(&[]).contains("made "));
    assert!(in_a_process(&[("REDIS_URL", "")]).contains("made "));
    assert!(in_a_process(&[("CACHE_MEMORY", "moka")]).contains("Moka"));
}

#[test]
fn from_env_reads_the_process_environment() {
    let refused = in_a_process(&[("CACHE_TTL_SECS", "often")]);
    assert!(
        refused.contains(r#"refused: configuration: CACHE_TTL_SECS is "often"; it must be"#),
        "{refused}"
    );
    let refused = in_a_process(&[("REDIS_URL", "redis://:s3cret@127.0.0.1:1")]);
    assert!(refused.contains("REDIS_URL") && refused.contains("127.0.0.1:1"), "{refused}");
    assert!(!refused.contains("s3cret"), "{refused}");
}

#[test]
fn from_env_says_which_variables_are_no_settings() {
    let vars = [
        ("CACHE_NEAR_TTL", "s3cret"),
        ("CACHE_TTL", "5"),
        ("CACHE_NEAR", "off"),
        ("CACHED", "1"),
        ("NEAR_TTL_SECS", "1"),
    ];
    let said = in_a_process(&vars);
    let lines: Vec<_> = said.lines().filter(|line| line.contains("WARN")).collect();
    assert_eq!(lines.len(), 1, "{said}");
    assert!(lines[0].contains("CACHE_NEAR_TTL, CACHE_TTL"), "{said}");
    for other in ["s3cret", "CACHE_NEAR,", "CACHE_REDIS_CA", "CACHED", "NEAR_TTL_SECS"] {
        assert!(!lines[0].contains(other), "{other}: {said}");
    }
    assert!(!in_a_process(&[("CACHE_TTL_SECS", "5")]).contains("WARN"));
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let error = CacheConfig::from_vars(|name| match name {
        "CACHE_TTL_SECS" => Some("soon".into()),
        "CACHE_NEAR" => Some("maybe".into()),
        _ => None,
    });
    let message = error.unwrap_err().to_string();
    assert!(message.contains("CACHE_TTL_SECS") && message.contains("CACHE_NEAR"), "{message}");

    let idle = Some(std::time::Duration::ZERO);
    let config = CacheConfig { namespace: "a b".into(), time_to_idle: idle, ..Default::default() };
    let message = config.validate().unwrap_err().to_string();
    assert!(message.contains("namespace") && message.contains("time_to_idle_secs"), "{message}");
}
