//! Redis URLs: what they may look like, and errors that say what is wrong and never repeat them.
//!
//! Rules:
//!
//! 1. No error repeats a part of the URL. A password with an unescaped `/`, `?` or `#` spills into
//!    the port, the path or the query, so any part may be the password.
//! 2. What is not understood is an error, not ignored.

use std::path::PathBuf;

use cache_core::{CacheError, ErrorKind};
use percent_encoding::percent_decode_str;
use url::Url;

use crate::config::{Credentials, Endpoint, Secret, Topology};

const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;
const ESCAPE: &str = "in a user name or password write / as %2F, ? as %3F, # as %23, % as %25";
const FORMS: &str = "redis://[user:password@]host[:port][/db], rediss://…, \
     redis+unix:///path[?db=0&user=u&pass=p], redis-cluster://host:port?node=host2:port2, \
     redis-sentinel://host:port[/db]?sentinelServiceName=name&node=host2:port2 \
     (rediss-cluster and rediss-sentinel for TLS)";

/// What a URL says.
pub(crate) struct Target {
    pub(crate) topology: Topology,
    pub(crate) tls: bool,
    pub(crate) credentials: Credentials,
    pub(crate) db: u32,
}

pub(crate) fn parse(text: &str) -> Result<Target, CacheError> {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    let (tls, form) = match scheme.as_deref() {
        Some("redis") => (false, Form::Server),
        Some("rediss") => (true, Form::Server),
        Some("redis+unix") => (false, Form::Unix),
        Some("redis-cluster") => (false, Form::Cluster),
        Some("rediss-cluster") => (true, Form::Cluster),
        Some("redis-sentinel") => (false, Form::Sentinel),
        Some("rediss-sentinel") => (true, Form::Sentinel),
        _ => return Err(wrong("its scheme is not one of ours", &format!("use {FORMS}"))),
    };
    if text.contains('#') {
        return Err(wrong("it has a '#'", ESCAPE));
    }
    let url = Url::parse(text).map_err(|error| wrong(&error.to_string(), ESCAPE))?;
    match form {
        Form::Unix => unix(&url),
        Form::Server => server(&url, tls),
        Form::Cluster => cluster(&url, tls),
        Form::Sentinel => sentinel(&url, tls),
    }
}

enum Form {
    Server,
    Unix,
    Cluster,
    Sentinel,
}

fn unix(url: &Url) -> Result<Target, CacheError> {
    if url.host_str().is_some_and(|host| !host.is_empty()) || !url.username().is_empty() {
        return Err(wrong(
            "a socket URL has no host",
            "use redis+unix:///path/to.sock?db=0&user=u&pass=p",
        ));
    }
    if url.path().len() < 2 {
        return Err(wrong("the path of the socket is missing", "use redis+unix:///path/to.sock"));
    }
    let mut query = Query::of(url, &["db", "user", "pass"])?;
    let db = query.one("db")?.map_or(Ok(0), |db| number(&db))?;
    let credentials =
        Credentials { user: query.one("user")?, password: query.one("pass")?.map(Secret::from) };
    let path = PathBuf::from(decode(url.path())?);
    let topology = Topology::Server(Endpoint::Unix(path));
    Ok(Target { topology, tls: false, credentials: credentials.checked()?, db })
}

fn server(url: &Url, tls: bool) -> Result<Target, CacheError> {
    Query::of(url, &[])?;
    Ok(Target {
        topology: Topology::Server(first(url, REDIS_PORT)?),
        tls,
        credentials: credentials(url)?,
        db: db(url)?,
    })
}

fn cluster(url: &Url, tls: bool) -> Result<Target, CacheError> {
    let mut query = Query::of(url, &["node"])?;
    let nodes = nodes(url, &mut query, REDIS_PORT)?;
    if db(url)? != 0 {
        return Err(wrong("a cluster has database 0 only", "leave the path out"));
    }
    let topology = Topology::Cluster(nodes);
    Ok(Target { topology, tls, credentials: credentials(url)?, db: 0 })
}

fn sentinel(url: &Url, tls: bool) -> Result<Target, CacheError> {
    let names = ["sentinelServiceName", "node", "sentinelUsername", "sentinelPassword"];
    let mut query = Query::of(url, &names)?;
    let sentinels = nodes(url, &mut query, SENTINEL_PORT)?;
    let Some(service) = query.one("sentinelServiceName")?.filter(|name| !name.is_empty()) else {
        return Err(wrong(
            "the name of the primary is missing",
            "add ?sentinelServiceName=name, as in the sentinel's configuration",
        ));
    };
    let own = Credentials {
        user: query.one("sentinelUsername")?,
        password: query.one("sentinelPassword")?.map(Secret::from),
    };
    let topology = Topology::Sentinel { service, sentinels, credentials: own.checked()? };
    Ok(Target { topology, tls, credentials: credentials(url)?, db: db(url)? })
}

/// The query's parameters, each known by name.
struct Query(Vec<(String, String)>);

impl Query {
    fn of(url: &Url, known: &[&str]) -> Result<Self, CacheError> {
        // Not `query_pairs`: it reads '+' as a space, which a password may well have.
        let mut pairs = Vec::new();
        for pair in url.query().unwrap_or("").split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if !known.contains(&name) {
                let right = match known {
                    [] => format!("this form takes none; {ESCAPE}"),
                    known => format!("this form takes {}; {ESCAPE}", known.join(", ")),
                };
                return Err(wrong("it has a parameter that is not known", &right));
            }
            pairs.push((name.to_owned(), decode(value)?));
        }
        Ok(Self(pairs))
    }

    fn all(&mut self, name: &str) -> Vec<String> {
        self.0.extract_if(.., |(key, _)| key == name).map(|(_, value)| value).collect()
    }

    fn one(&mut self, name: &str) -> Result<Option<String>, CacheError> {
        let mut values = self.all(name);
        if values.len() > 1 {
            return Err(wrong(&format!("{name} is given twice"), "give it once"));
        }
        Ok(values.pop())
    }
}

fn nodes(url: &Url, query: &mut Query, port: u16) -> Result<Vec<Endpoint>, CacheError> {
    let mut nodes = vec![first(url, port)?];
    for node in query.all("node") {
        let authority = Url::parse(&format!("redis://{node}")).ok().filter(|node| {
            node.username().is_empty() && node.path().len() < 2 && node.query().is_none()
        });
        let Some(authority) = authority else {
            return Err(wrong("a node parameter is not host:port", "use node=host2:port2"));
        };
        nodes.push(first(&authority, port)?);
    }
    Ok(nodes)
}

fn first(url: &Url, default_port: u16) -> Result<Endpoint, CacheError> {
    let host = decode(url.host_str().unwrap_or(""))?;
    if host.is_empty() {
        return Err(wrong("the host is missing", &format!("use {FORMS}; {ESCAPE}")));
    }
    let port = url.port().unwrap_or(default_port);
    if port == 0 {
        return Err(wrong("port 0 cannot be dialled", "name the server's port"));
    }
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok(Endpoint::Tcp { host, port })
}

fn credentials(url: &Url) -> Result<Credentials, CacheError> {
    let user = Some(decode(url.username())?).filter(|user| !user.is_empty());
    let password = url.password().map(decode).transpose()?;
    let password = password.filter(|password| !password.is_empty()).map(Secret::from);
    Credentials { user, password }.checked()
}

impl Credentials {
    fn checked(self) -> Result<Self, CacheError> {
        if self.user.is_some() && self.password.is_none() {
            return Err(wrong(
                "it has a user name but no password",
                "write user:password@host, or :password@host for the default user",
            ));
        }
        Ok(self)
    }
}

fn db(url: &Url) -> Result<u32, CacheError> {
    match url.path().trim_start_matches('/') {
        "" => Ok(0),
        db => number(db),
    }
}

fn number(db: &str) -> Result<u32, CacheError> {
    db.parse().ok().filter(|db| *db <= i32::MAX as u32).ok_or_else(|| {
        wrong("its database is not a number", &format!("use /0, /1 and so on; {ESCAPE}"))
    })
}

fn decode(text: &str) -> Result<String, CacheError> {
    let text = percent_decode_str(text).decode_utf8();
    text.map(std::borrow::Cow::into_owned).map_err(|_| wrong("it is not UTF-8", ESCAPE))
}

fn wrong(what: &str, right: &str) -> CacheError {
    CacheError::new(ErrorKind::Config, format!("the Redis URL cannot be used: {what}; {right}"))
}

#[cfg(test)]
mod tests {
    use crate::RedisConfig;

    fn debug(url: &str) -> String {
        format!("{:?}", RedisConfig::from_url(url).unwrap())
    }

    #[test]
    fn every_form_is_read() {
        for (url, address) in [
            ("redis://h", "h:6379"),
            ("REDIS://h:1/3", "h:1"),
            ("rediss://user:pass@h:1", "h:1"),
            ("redis://:p%40ss@[::1]:7", "[::1]:7"),
            ("redis+unix:///tmp/a%20b.sock?db=2&user=u&pass=p+q", "/tmp/a b.sock"),
            ("redis-cluster://a:1?node=b:2&node=[::2]", "cluster a:1, b:2, [::2]:6379"),
            (
                "rediss-sentinel://u:p@a/2?sentinelServiceName=main&node=b:2",
                "primary \"main\" of sentinels a:26379, b:2",
            ),
        ] {
            assert_eq!(RedisConfig::from_url(url).unwrap().address(), address);
        }
        let config = RedisConfig::from_url("redis+unix:///s?pass=p+q%26").unwrap();
        assert_eq!(config.credentials.password.unwrap().reveal(), "p+q&");
        assert!(debug("redis://h/3").contains("db: 3"));
        assert!(debug("rediss-cluster://h").contains("tls: true"));
    }

    #[test]
    fn what_is_wrong_is_said_and_the_password_is_not() {
        for (url, says) in [
            ("", "scheme"),
            ("sekret", "scheme"),
            ("http://u:sekret@h", "scheme"),
            ("redis://u:sek#sekret@h", "'#'"),
            ("redis://u:1/sekret@h:1", "database is not a number"),
            ("redis://u:sekret/x@h:1", "port"),
            ("redis://u:1?sekret@h:1", "parameter that is not known"),
            ("redis://u:sekret@", "host"),
            ("redis://u:sekret@:6379", "host"),
            ("redis://u:sekret@h:0", "port 0"),
            ("redis://u:sekret@h:99999", "port"),
            ("redis://u:sekret@h/-1", "database is not a number"),
            ("redis://sekret@h", "no password"),
            ("redis://u:sekret@h?db=1", "this form takes none"),
            ("redis-cluster://u:sekret@h/1", "database 0"),
            ("redis-cluster://h?node=u:sekret@b", "node=host2:port2"),
            ("redis-sentinel://u:sekret@h", "sentinelServiceName"),
            ("redis-sentinel://h?sentinelServiceName=a&sentinelServiceName=b", "twice"),
            ("redis+unix://h/sekret", "no host"),
            ("redis+unix://", "path"),
            ("redis://u:%ffsekret@h", "UTF-8"),
        ] {
            let error = RedisConfig::from_url(url).expect_err(url);
            let text = format!("{error} {error:?}");
            assert_eq!(error.kind(), cache_core::ErrorKind::Config, "{url}");
            assert!(text.contains(says), "{url}: {text}");
            assert!(!text.contains("sekret"), "{url}: {text}");
        }
        assert!(!debug("redis://u:sekret@h").contains("sekret"));
        let sentinel = "redis-sentinel://h?sentinelServiceName=m&sentinelPassword=sekret";
        assert!(!debug(sentinel).contains("sekret"));
    }
}
