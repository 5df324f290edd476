//! Keys in paths: percent-encoded, up to 1,024 bytes of UTF-8, slashes included.

use cache_services::check_key;
use percent_encoding::percent_decode_str;

use crate::error::ApiError;

/// The key that `raw`, a part of a path, stands for.
pub(crate) fn decode(raw: &str) -> Result<String, ApiError> {
    let bad = |message: &str| ApiError::bad_request("invalid_key", message);
    for (at, _) in raw.match_indices('%') {
        let digits = raw.as_bytes().get(at + 1..at + 3);
        if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
            return Err(bad("in the key's path a percent sign is not followed by two hex digits"));
        }
    }
    let key = percent_decode_str(raw).decode_utf8();
    let key = key.map_err(|_| bad("the key in the path is not UTF-8 once decoded"))?;
    check_key(&key)?;
    Ok(key.into_owned())
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn any_key_can_stand_in_a_path() {
        let long = "k".repeat(1_024);
        for (raw, key) in [
            ("org:acme", "org:acme"),
            ("a/b//c/", "a/b//c/"),
            ("a%2Fb", "a/b"),
            ("%C3%BC%00%25", "ü\0%"),
            ("a+b", "a+b"),
            (&long, &long),
        ] {
            assert_eq!(decode(raw).unwrap(), key, "{raw}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let long = "k".repeat(1_025);
        for raw in ["", "%", "%4", "%zz", "a%2", "%ff", "%C3", &long] {
            assert_eq!(decode(raw).unwrap_err().code, "invalid_key", "{raw}");
        }
    }
}
