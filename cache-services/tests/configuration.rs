//! `CacheConfig` as a part of a service's own configuration.

use std::time::Duration;

use cache_services::{CacheConfig, CacheServices, ErrorKind, MemoryBackend, TracedKeys};

fn full() -> CacheConfig {
    CacheConfig {
        redis_url: Some("redis://app:s3cret@cache:6379".into()),
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
    }
}

#[test]
fn from_toml() {
    let config: CacheConfig = toml::from_str(
        r#"
        redis_url = "redis://app:s3cret@cache:6379"
        redis_ca = "/etc/ssl/redis.pem"
        operation_timeout_secs = 0.1
        namespace = "billing"
        name = "orgs"
        default_ttl_secs = 60
        max_capacity = 500
        max_weight_bytes = 1048576
        time_to_idle_secs = 7.5
        memory = "moka"
        near = false
        near_ttl_secs = 20
        near_grace_secs = 0.5
        start_degraded = true
        traced_keys = "clear"
        "#,
    )
    .unwrap();
    assert_eq!(config, full());
}

#[test]
fn from_json() {
    let config: CacheConfig = serde_json::from_str(
        r#"{
            "redis_url": "redis://app:s3cret@cache:6379",
            "redis_ca": "/etc/ssl/redis.pem",
            "operation_timeout_secs": 0.1,
            "namespace": "billing",
            "name": "orgs",
            "default_ttl_secs": 60,
            "max_capacity": 500,
            "max_weight_bytes": 1048576,
            "time_to_idle_secs": 7.5,
            "memory": "moka",
            "near": false,
            "near_ttl_secs": 20,
            "near_grace_secs": 0.5,
            "start_degraded": true,
            "traced_keys": "clear"
        }"#,
    )
    .unwrap();
    assert_eq!(config, full());
}

#[test]
fn what_is_left_out_takes_its_default() {
    assert_eq!(toml::from_str::<CacheConfig>("").unwrap(), CacheConfig::default());
    assert_eq!(serde_json::from_str::<CacheConfig>("{}").unwrap(), CacheConfig::default());
    let nulls = r#"{"redis_url": null, "max_capacity": null, "time_to_idle_secs": null}"#;
    assert_eq!(serde_json::from_str::<CacheConfig>(nulls).unwrap(), CacheConfig::default());

    let one: CacheConfig = toml::from_str("max_capacity = 7").unwrap();
    assert_eq!(one, CacheConfig { max_capacity: Some(7), ..CacheConfig::default() });
}

#[test]
fn an_unknown_field_is_refused_by_name() {
    let error = toml::from_str::<CacheConfig>("default_ttl = 60").unwrap_err().to_string();
    assert!(error.contains("default_ttl") && error.contains("default_ttl_secs"), "{error}");
    let error = serde_json::from_str::<CacheConfig>(r#"{"capacity": 7}"#).unwrap_err().to_string();
    assert!(error.contains("capacity"), "{error}");
}

#[test]
fn a_value_of_the_wrong_kind_is_refused() {
    for json in [
        r#"{"default_ttl_secs": -1}"#,
        r#"{"default_ttl_secs": -0.5}"#,
        r#"{"default_ttl_secs": 1e30}"#,
        r#"{"default_ttl_secs": "60s"}"#,
        r#"{"default_ttl_secs": null}"#,
        r#"{"time_to_idle_secs": -1}"#,
        r#"{"time_to_idle_secs": true}"#,
        r#"{"max_capacity": -1}"#,
        r#"{"max_capacity": 1.5}"#,
        r#"{"max_weight_bytes": "64MB"}"#,
        r#"{"memory": "memcached"}"#,
        r#"{"near": "on"}"#,
    ] {
        assert!(serde_json::from_str::<CacheConfig>(json).is_err(), "{json}");
    }
}

#[test]
fn it_comes_back_as_it_was_written() {
    for config in [CacheConfig::default(), full()] {
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<CacheConfig>(&json).unwrap(), config, "{json}");
        let text = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<CacheConfig>(&text).unwrap(), config, "{text}");
    }
    let whole = serde_json::to_string(&CacheConfig::default()).unwrap();
    assert!(whole.contains(r#""default_ttl_secs":300"#), "{whole}");
}

#[test]
fn debug_shows_no_password() {
    let shown = format!("{:?}", full());
    assert!(shown.contains("redis://cache:6379") && !shown.contains("s3cret"), "{shown}");
}

#[tokio::test]
async fn values_are_checked_when_the_services_are_built() {
    let base = CacheConfig::default;
    for (config, field) in [
        (CacheConfig { default_ttl: Duration::ZERO, ..base() }, "default_ttl_secs"),
        (CacheConfig { time_to_idle: Some(Duration::ZERO), ..base() }, "time_to_idle_secs"),
        (CacheConfig { namespace: "a b".into(), ..base() }, "namespace"),
        (CacheConfig { namespace: "x".repeat(129), ..base() }, "namespace"),
        (
            CacheConfig { memory: MemoryBackend::Moka, max_weight_bytes: Some(1_000), ..base() },
            "max_weight_bytes",
        ),
        (CacheConfig { redis_url: Some("http://h".into()), ..base() }, "redis_url"),
    ] {
        let error = CacheServices::from_config(config).await.expect_err(field);
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(field), "{error}");
    }
    let blank = CacheConfig { redis_url: Some("  ".into()), ..base() };
    assert!(CacheServices::from_config(blank).await.is_ok());
}

#[test]
fn backends_have_names() {
    for backend in [MemoryBackend::Quick, MemoryBackend::Moka] {
        assert_eq!(backend.to_string().parse::<MemoryBackend>().unwrap(), backend);
    }
    let error = "memcached".parse::<MemoryBackend>().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("quick or moka"), "{error}");
}
