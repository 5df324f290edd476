//! Which hash slot of a cluster a key belongs to.

/// The hash slot of a key in a cluster, 0 to 16383. Keys with the same `{tag}` share one.
///
/// ```
/// use cache_redis::slot;
///
/// assert_eq!(slot("foo"), 12182);
/// assert_eq!(slot("{org}:a"), slot("{org}:b"));
/// ```
#[must_use]
pub fn slot(key: &str) -> u16 {
    crc16(tag(key).unwrap_or(key).as_bytes()) % 16_384
}

/// What stands between the first `{` and the next `}`, if anything does.
fn tag(key: &str) -> Option<&str> {
    let (_, rest) = key.split_once('{')?;
    let (tag, _) = rest.split_once('}')?;
    (!tag.is_empty()).then_some(tag)
}

/// CRC-16/XMODEM, as the cluster specification has it.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    })
}

#[cfg(test)]
mod tests {
    use redis::cluster_routing::Slot;

    use super::*;

    #[test]
    fn agrees_with_the_client() {
        let keys = ["", "a", "foo", "{a}b", "x{a}b{c}", "{}a", "a{", "a}{b", "{{a}}", "é{ü}", "{a"];
        for key in keys {
            assert_eq!(Slot::new(slot(key)), Some(Slot::for_key(key)), "{key}");
        }
    }
}
