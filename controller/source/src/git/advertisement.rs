//! The list of references a server sends, searched as it streams by.
//!
//! Only the wanted entry is kept, and libgit2 later sees a list with that one entry: neither the length of the real list nor
//! odd names in it (libgit2's binding panics on names that are not UTF-8) reach it.

use std::io::{self, Read};

use super::error::is_full_sha;

/// What was found of the wanted reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Advertised {
    /// The object the ref points to: for an annotated tag, the tag.
    pub(super) target: String,
    /// The commit behind an annotated tag.
    pub(super) peeled: Option<String>,
    /// The server's capabilities as sent, printable ASCII only.
    pub(super) capabilities: String,
}

impl Advertised {
    pub(super) fn commit(&self) -> &str {
        self.peeled.as_deref().unwrap_or(&self.target)
    }

    /// An advertisement of exactly this object under `name`, in the form libgit2 expects from an HTTP server.
    pub(super) fn rewritten(&self, name: &str) -> Vec<u8> {
        let entry = format!("{} {name}\0{}\n", self.target, self.capabilities);
        let service = "# service=git-upload-pack\n";
        let mut out = Vec::new();
        for line in [service, &entry] {
            out.extend_from_slice(format!("{:04x}{line}", line.len() + LENGTH_DIGITS).as_bytes());
            if line.starts_with('#') {
                out.extend_from_slice(b"0000");
            }
        }
        out.extend_from_slice(b"0000");
        out
    }
}

/// Which entry is wanted.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wanted<'a> {
    /// A full ref name.
    Name(&'a str),
    /// Any ref that points to this commit; without one, the capabilities of the server are still worth having.
    Commit(&'a str),
}

/// Why an advertisement could not be read.
#[derive(Debug)]
pub(super) enum Unreadable {
    Io(io::Error),
    Format(&'static str),
}

const LENGTH_DIGITS: usize = 4;
/// The protocol's own limit of a packet.
const MAX_PACKET_BYTES: usize = 65_520;
const MAX_CAPABILITY_BYTES: usize = 4096;

/// Reads the list to its end; `None` when the wanted entry is not in it.
pub(super) fn search(reader: &mut impl Read, wanted: Wanted<'_>) -> Result<Option<Advertised>, Unreadable> {
    let mut packet = Vec::new();
    let mut capabilities: Option<String> = None;
    let mut target: Option<String> = None;
    let mut peeled = None;
    let mut flushes_before_end = 1;
    loop {
        let Some(line) = next_packet(reader, &mut packet)? else {
            if capabilities.is_some() || flushes_before_end == 0 {
                break;
            }
            flushes_before_end -= 1;
            continue;
        };
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        if line.starts_with(b"#") && capabilities.is_none() {
            continue;
        }
        if line.starts_with(b"ERR ") {
            return Err(Unreadable::Format("it reports an error"));
        }
        let (entry, rest) = match line.iter().position(|b| *b == 0) {
            Some(at) => (line.get(..at).unwrap_or_default(), line.get(at + 1..)),
            None => (line, None),
        };
        if capabilities.is_none() {
            capabilities = Some(checked_capabilities(rest.unwrap_or_default())?);
        }
        let (Some(id), Some(b' '), Some(name)) = (entry.get(..40), entry.get(40), entry.get(41..)) else {
            return Err(Unreadable::Format("its list of references is malformed"));
        };
        let Some(id) = std::str::from_utf8(id).ok().filter(|id| is_full_sha(id)) else {
            return Err(Unreadable::Format("its list of references is malformed"));
        };
        match wanted {
            Wanted::Name(full) if name == full.as_bytes() => target = Some(id.to_owned()),
            Wanted::Name(full) if name.strip_suffix(b"^{}") == Some(full.as_bytes()) => peeled = Some(id.to_owned()),
            Wanted::Commit(sha) if id == sha && !name.ends_with(b"^{}") => target = Some(id.to_owned()),
            _ => {}
        }
    }
    let capabilities = capabilities.unwrap_or_default();
    Ok(match (target, wanted) {
        (Some(target), _) => Some(Advertised { target, peeled, capabilities }),
        // git servers over HTTP hand out any reachable commit, so it is worth asking for one that no ref points to
        (None, Wanted::Commit(sha)) if !capabilities.is_empty() => {
            Some(Advertised { target: sha.to_owned(), peeled: None, capabilities })
        }
        (None, _) => None,
    })
}

fn checked_capabilities(bytes: &[u8]) -> Result<String, Unreadable> {
    let text = std::str::from_utf8(bytes)
        .ok()
        .filter(|text| text.len() <= MAX_CAPABILITY_BYTES && text.bytes().all(|b| b.is_ascii_graphic() || b == b' '));
    let Some(text) = text else { return Err(Unreadable::Format("its list of capabilities is malformed")) };
    if text.split(' ').any(|word| word.starts_with("object-format=") && word != "object-format=sha1") {
        return Err(Unreadable::Format("its repository uses SHA-256 ids, which are not supported"));
    }
    Ok(text.to_owned())
}

/// The next packet, or `None` for a flush.
fn next_packet<'a>(reader: &mut impl Read, packet: &'a mut Vec<u8>) -> Result<Option<&'a [u8]>, Unreadable> {
    let mut digits = [0; LENGTH_DIGITS];
    reader.read_exact(&mut digits).map_err(Unreadable::Io)?;
    let malformed = Unreadable::Format("its list of references is malformed");
    let length = match std::str::from_utf8(&digits) {
        Ok(text) if text.bytes().all(|b| b.is_ascii_hexdigit()) => usize::from_str_radix(text, 16).unwrap_or(usize::MAX),
        _ => return Err(malformed),
    };
    if length == 0 {
        return Ok(None);
    }
    if !(LENGTH_DIGITS + 1..=MAX_PACKET_BYTES).contains(&length) {
        return Err(malformed);
    }
    packet.resize(length - LENGTH_DIGITS, 0);
    reader.read_exact(packet).map_err(Unreadable::Io)?;
    Ok(Some(packet))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn list(entries: &[&[u8]]) -> Vec<u8> {
        let mut out = b"001e# service=git-upload-pack\n0000".to_vec();
        for entry in entries {
            out.extend_from_slice(format!("{:04x}", entry.len() + 4).as_bytes());
            out.extend_from_slice(entry);
        }
        out.extend_from_slice(b"0000");
        out
    }

    #[test]
    fn a_branch_is_found_by_its_full_name_only() {
        let bytes = list(&[
            format!("{B} HEAD\0shallow agent=git/2").as_bytes(),
            format!("{B} refs/heads/main2\n").as_bytes(),
            format!("{A} refs/heads/main\n").as_bytes(),
            format!("{B} refs/tags/main\n").as_bytes(),
        ]);
        let found = search(&mut bytes.as_slice(), Wanted::Name("refs/heads/main")).unwrap().unwrap();
        assert_eq!((found.commit(), found.capabilities.as_str()), (A, "shallow agent=git/2"));
        assert!(search(&mut bytes.as_slice(), Wanted::Name("refs/heads/mai")).unwrap().is_none());
    }

    #[test]
    fn an_annotated_tag_gives_the_commit_behind_it() {
        let bytes = list(&[format!("{A} refs/tags/v1\0x").as_bytes(), format!("{B} refs/tags/v1^{{}}").as_bytes()]);
        let found = search(&mut bytes.as_slice(), Wanted::Name("refs/tags/v1")).unwrap().unwrap();
        assert_eq!((found.target.as_str(), found.commit()), (A, B));
    }

    #[test]
    fn names_that_are_not_text_pass_by_and_the_rewritten_list_reads_back() {
        let mut odd = format!("{B} refs/heads/").into_bytes();
        odd.extend_from_slice(b"\xff\xfe\0side-band-64k");
        let bytes = list(&[&odd, format!("{A} refs/heads/main\n").as_bytes()]);
        let found = search(&mut bytes.as_slice(), Wanted::Name("refs/heads/main")).unwrap().unwrap();
        let again = search(&mut found.rewritten("refs/x/y").as_slice(), Wanted::Name("refs/x/y")).unwrap().unwrap();
        assert_eq!(again, Advertised { peeled: None, ..found });
    }

    #[test]
    fn damaged_lists_are_refused_and_never_panic() {
        for bytes in
            [&b""[..], b"0", b"zzzz", b"0001", b"ffff", b"0005", b"001e# service=git-upload-pack\n", b"0006ab", b"00000000"]
        {
            let result = search(&mut &*bytes, Wanted::Name("refs/heads/main"));
            assert!(!matches!(result, Ok(Some(_))));
        }
        let sha256 = list(&[format!("{A} refs/heads/main\0object-format=sha256").as_bytes()]);
        assert!(matches!(search(&mut sha256.as_slice(), Wanted::Name("refs/heads/main")), Err(Unreadable::Format(_))));
    }
}
