//! Hashes as names: letters that form no words, as Kubernetes has them.

use serde_json::Value;

const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// The decimal digits of a number in the alphabet of generated names.
#[must_use]
pub fn safe(number: u64) -> String {
    number.to_string().bytes().map(|digit| char::from(ALPHABET[usize::from(digit) % ALPHABET.len()])).collect()
}

/// The hash of a pod template. Not Kubernetes' value, which depends on its Go types, but of its form and as stable.
#[must_use]
pub fn of_template(template: &Value, collisions: i64) -> String {
    // FNV-1a, 32 bits
    let text = format!("{template}{collisions}");
    let hash = text.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    safe(u64::from(hash))
}
