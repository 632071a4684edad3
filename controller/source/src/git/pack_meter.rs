//! Watches a pack on its way to libgit2, and stops one that would take memory out of proportion.
//!
//! libgit2 streams whole objects, but holds the base and the result of every delta in memory: a pack of 300 kB made of zeros
//! and two deltas took it to 600 MB. So the sizes that a pack declares are read here, before libgit2 acts on them. What cannot
//! be parsed is refused: the two readers must not differ.

use flate2::{Decompress, FlushDecompress, Status};

/// Sizes a pack may declare.
#[derive(Debug, Clone, Copy)]
pub(super) struct PackLimits {
    /// Of objects that are held in memory: commits, trees, tags, and everything a delta starts from or results in.
    pub(super) max_held_bytes: u64,
    /// Of all objects, decompressed.
    pub(super) max_unpacked_bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    Malformed,
    HeldTooLarge,
    UnpackedTooLarge,
}

const PACKET_LENGTH_DIGITS: usize = 4;
const PACK_HEADER_BYTES: usize = 12;
const BAND_DATA: u8 = 1;
const TYPE_BLOB: u8 = 3;
const TYPE_OFFSET_DELTA: u8 = 6;
const TYPE_REFERENCE_DELTA: u8 = 7;
const ID_BYTES: usize = 20;
/// Two sizes of at most ten digits to the base of 128 begin a delta.
const DELTA_HEAD_BYTES: usize = 20;
const INFLATE_BUFFER_BYTES: usize = 16 << 10;

/// Where in a packet the next byte belongs.
enum Packet {
    Length { digits: [u8; PACKET_LENGTH_DIGITS], have: usize },
    Band { left: usize },
    Content { left: usize, is_data: bool },
}

/// Where in the pack the next byte belongs.
enum Pack {
    Header { have: Vec<u8> },
    ObjectHead { kind: u8, size: u64, shift: u32, first: bool },
    BaseOffset { size: u64 },
    BaseId { size: u64, left: usize },
    Data { inflate: Box<Decompress>, size: u64, seen: u64, delta_head: Option<Vec<u8>> },
    Trailer,
}

pub(super) struct PackMeter {
    limits: PackLimits,
    packet: Packet,
    pack: Pack,
    objects_left: u32,
    unpacked: u64,
    scratch: Vec<u8>,
}

impl PackMeter {
    pub(super) fn new(limits: PackLimits) -> Self {
        Self {
            limits,
            packet: Packet::Length { digits: [0; PACKET_LENGTH_DIGITS], have: 0 },
            pack: Pack::Header { have: Vec::new() },
            objects_left: 0,
            unpacked: 0,
            scratch: vec![0; INFLATE_BUFFER_BYTES],
        }
    }

    /// Takes the next bytes of an answer in packets with side bands.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> Result<(), Refusal> {
        while let Some((first, rest)) = bytes.split_first() {
            match &mut self.packet {
                Packet::Length { digits, have } => {
                    if let Some(digit) = digits.get_mut(*have) {
                        *digit = *first;
                    }
                    *have += 1;
                    if *have == PACKET_LENGTH_DIGITS {
                        self.packet = after_length(*digits)?;
                    }
                    bytes = rest;
                }
                Packet::Band { left } => {
                    let (left, is_data) = (*left - 1, *first == BAND_DATA);
                    self.packet = Packet::Content { left, is_data };
                    bytes = rest;
                    self.end_packet_if_complete();
                }
                Packet::Content { left, is_data } => {
                    let (now, later) = bytes.split_at((*left).min(bytes.len()));
                    *left -= now.len();
                    bytes = later;
                    let is_data = *is_data;
                    self.end_packet_if_complete();
                    if is_data {
                        self.pack(now)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn end_packet_if_complete(&mut self) {
        if matches!(self.packet, Packet::Content { left: 0, .. }) {
            self.packet = Packet::Length { digits: [0; PACKET_LENGTH_DIGITS], have: 0 };
        }
    }

    fn pack(&mut self, mut bytes: &[u8]) -> Result<(), Refusal> {
        while let Some((byte, rest)) = bytes.split_first() {
            match &mut self.pack {
                Pack::Header { have } => {
                    have.push(*byte);
                    bytes = rest;
                    if have.len() == PACK_HEADER_BYTES {
                        let Some((b"PACK", [0, 0, 0, 2, count @ ..])) = have.split_first_chunk() else {
                            return Err(Refusal::Malformed);
                        };
                        self.objects_left = u32::from_be_bytes(count.try_into().map_err(|_| Refusal::Malformed)?);
                        self.next_object();
                    }
                }
                Pack::ObjectHead { kind, size, shift, first } => {
                    if *first {
                        (*kind, *size, *shift, *first) = ((byte >> 4) & 7, u64::from(byte & 15), 4, false);
                    } else {
                        *size |= shifted(byte & 127, *shift)?;
                        *shift += 7;
                    }
                    bytes = rest;
                    if byte & 128 == 0 {
                        let (kind, size) = (*kind, *size);
                        self.begin_object(kind, size)?;
                    }
                }
                Pack::BaseOffset { size } => {
                    bytes = rest;
                    if byte & 128 == 0 {
                        self.pack = data(*size, true);
                    }
                }
                Pack::BaseId { size, left } => {
                    bytes = rest;
                    *left -= 1;
                    if *left == 0 {
                        self.pack = data(*size, true);
                    }
                }
                Pack::Data { .. } => bytes = self.inflate(bytes)?,
                Pack::Trailer => return Ok(()),
            }
        }
        Ok(())
    }

    fn next_object(&mut self) {
        self.pack = if self.objects_left == 0 {
            Pack::Trailer
        } else {
            self.objects_left -= 1;
            Pack::ObjectHead { kind: 0, size: 0, shift: 0, first: true }
        };
    }

    fn begin_object(&mut self, kind: u8, size: u64) -> Result<(), Refusal> {
        if kind != TYPE_BLOB && size > self.limits.max_held_bytes {
            return Err(Refusal::HeldTooLarge);
        }
        self.unpacked = self.unpacked.saturating_add(size);
        if self.unpacked > self.limits.max_unpacked_bytes {
            return Err(Refusal::UnpackedTooLarge);
        }
        self.pack = match kind {
            1..=4 => data(size, false),
            TYPE_OFFSET_DELTA => Pack::BaseOffset { size },
            TYPE_REFERENCE_DELTA => Pack::BaseId { size, left: ID_BYTES },
            _ => return Err(Refusal::Malformed),
        };
        Ok(())
    }

    /// Decompresses to find the end of an object, and returns what follows it.
    fn inflate<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8], Refusal> {
        let Pack::Data { inflate, size, seen, delta_head } = &mut self.pack else { return Ok(bytes) };
        let (in_before, out_before) = (inflate.total_in(), inflate.total_out());
        let status = inflate.decompress(bytes, &mut self.scratch, FlushDecompress::None).map_err(|_| Refusal::Malformed)?;
        let taken = usize::try_from(inflate.total_in() - in_before).map_err(|_| Refusal::Malformed)?;
        let made = usize::try_from(inflate.total_out() - out_before).map_err(|_| Refusal::Malformed)?;
        *seen += made as u64;
        if *seen > *size {
            return Err(Refusal::Malformed);
        }
        if let Some(head) = delta_head
            && head.len() < DELTA_HEAD_BYTES
        {
            let wanted = (DELTA_HEAD_BYTES - head.len()).min(made);
            head.extend_from_slice(self.scratch.get(..wanted).unwrap_or_default());
        }
        let (ended, complete) = (status == Status::StreamEnd, *seen == *size);
        if !ended && taken == 0 && made == 0 {
            // neither progress nor an end: the stream is not what it claims
            return Err(Refusal::Malformed);
        }
        if let Some(head) = delta_head
            && (ended || head.len() >= DELTA_HEAD_BYTES)
        {
            let (base, result) = delta_sizes(head).ok_or(Refusal::Malformed)?;
            if base.max(result) > self.limits.max_held_bytes {
                return Err(Refusal::HeldTooLarge);
            }
            if !ended {
                *delta_head = None;
            }
        }
        if ended {
            if !complete {
                return Err(Refusal::Malformed);
            }
            self.next_object();
        }
        bytes.get(taken..).ok_or(Refusal::Malformed)
    }
}

fn data(size: u64, is_delta: bool) -> Pack {
    Pack::Data { inflate: Box::new(Decompress::new(true)), size, seen: 0, delta_head: is_delta.then(Vec::new) }
}

fn after_length(digits: [u8; PACKET_LENGTH_DIGITS]) -> Result<Packet, Refusal> {
    let text =
        std::str::from_utf8(&digits).ok().filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit())).ok_or(Refusal::Malformed)?;
    let length = usize::from_str_radix(text, 16).map_err(|_| Refusal::Malformed)?;
    match length {
        // a flush has no content
        0 => Ok(Packet::Length { digits: [0; PACKET_LENGTH_DIGITS], have: 0 }),
        length if length > PACKET_LENGTH_DIGITS => Ok(Packet::Band { left: length - PACKET_LENGTH_DIGITS }),
        _ => Err(Refusal::Malformed),
    }
}

fn shifted(bits: u8, shift: u32) -> Result<u64, Refusal> {
    let bits = u64::from(bits);
    let value = bits.checked_shl(shift).filter(|value| value >> shift == bits);
    value.ok_or(Refusal::Malformed)
}

/// The sizes of base and result at the beginning of a delta.
fn delta_sizes(head: &[u8]) -> Option<(u64, u64)> {
    let mut bytes = head.iter();
    let mut number = || {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = bytes.next()?;
            value |= shifted(byte & 127, shift).ok()?;
            shift += 7;
            if byte & 128 == 0 {
                return Some(value);
            }
        }
    };
    Some((number()?, number()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use std::io::Write as _;

    use super::*;

    const LIMITS: PackLimits = PackLimits { max_held_bytes: 1000, max_unpacked_bytes: 100_000 };

    fn deflated(content: &[u8]) -> Vec<u8> {
        let mut out = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        out.write_all(content).unwrap();
        out.finish().unwrap()
    }

    fn object(kind: u8, declared: usize, base: &[u8], content: &[u8]) -> Vec<u8> {
        let mut size = declared >> 4;
        let mut out = vec![(kind << 4) | (declared & 15) as u8 | if size > 0 { 128 } else { 0 }];
        while size > 0 {
            let next = size >> 7;
            out.push((size & 127) as u8 | if next > 0 { 128 } else { 0 });
            size = next;
        }
        [out, base.to_vec(), deflated(content)].concat()
    }

    /// An answer as a server sends it, around a pack of these objects.
    fn answer(objects: &[Vec<u8>]) -> Vec<u8> {
        let count = u32::try_from(objects.len()).unwrap().to_be_bytes();
        let pack = [b"PACK\0\0\0\x02".as_slice(), &count, &objects.concat(), &[0; 20]].concat();
        let mut out = b"0008NAK\n000d\x02Counting".to_vec();
        for chunk in pack.chunks(100) {
            out.extend_from_slice(format!("{:04x}\x01", chunk.len() + 5).as_bytes());
            out.extend_from_slice(chunk);
        }
        out.extend_from_slice(b"0000");
        out
    }

    /// The verdict must not depend on how the bytes are cut.
    fn verdict(answer: &[u8]) -> Result<(), Refusal> {
        let all: Vec<_> = [1, 7, 4096]
            .map(|size| {
                let mut meter = PackMeter::new(LIMITS);
                answer.chunks(size).try_for_each(|chunk| meter.feed(chunk))
            })
            .to_vec();
        assert!(all.iter().all(|one| *one == all[0]), "{all:?}");
        all[0]
    }

    #[test]
    fn ordinary_packs_pass() {
        let delta = [&[100_u8, 50][..], b"some instructions"].concat();
        let objects = [
            object(1, 300, &[], &[b'c'; 300]),
            object(3, 50_000, &[], &[0; 50_000]),
            object(6, delta.len(), &[0x81, 5], &delta),
            object(7, delta.len(), &[9; 20], &delta),
        ];
        assert_eq!(verdict(&answer(&objects)), Ok(()));
        assert_eq!(verdict(&answer(&[])), Ok(()));
    }

    #[test]
    fn deltas_and_trees_that_would_be_held_in_memory_are_bounded() {
        // base of 5000 bytes, result of 10
        let large_base = [0x88, 0x27, 10, 1, 2, 3];
        let large_result = [10, 0x88, 0x27, 1, 2, 3];
        for delta in [large_base, large_result] {
            assert_eq!(verdict(&answer(&[object(6, delta.len(), &[5], &delta)])), Err(Refusal::HeldTooLarge));
        }
        assert_eq!(verdict(&answer(&[object(2, 2000, &[], &[0; 2000])])), Err(Refusal::HeldTooLarge));
        assert_eq!(
            verdict(&answer(&[object(3, 60_000, &[], &[0; 60_000]), object(3, 60_000, &[], &[0; 60_000])])),
            Err(Refusal::UnpackedTooLarge)
        );
    }

    #[test]
    fn packs_that_lie_about_sizes_or_are_damaged_are_refused() {
        assert_eq!(verdict(&answer(&[object(3, 10, &[], &[0; 5000])])), Err(Refusal::Malformed));
        assert_eq!(verdict(&answer(&[object(3, 5000, &[], &[0; 10])])), Err(Refusal::Malformed));
        assert_eq!(verdict(&answer(&[object(5, 10, &[], &[0; 10])])), Err(Refusal::Malformed));
        assert_eq!(verdict(&answer(&[object(6, 2, &[5], &[0x80, 0x80])])), Err(Refusal::Malformed));
        assert_eq!(verdict(b"zzzz"), Err(Refusal::Malformed));
        assert_eq!(verdict(b"0011\x01PACKxxxxxxxx"), Err(Refusal::Malformed));
        assert_eq!(verdict(&answer(&[vec![0x35, 1, 2, 3, 4, 5, 6, 7, 8, 9]])), Err(Refusal::Malformed));
    }
}
