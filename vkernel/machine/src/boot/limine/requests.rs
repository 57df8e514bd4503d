//! Finding a kernel's requests: in the image, on 8-byte boundaries, between the markers if there are any.

use super::NEWEST_REVISION;
use crate::boot::BootError;
use crate::boot::elf::Elf;
use crate::boot::loader::{Loader, Placed};

const COMMON_MAGIC: [u64; 2] = [0xc7b1_dd30_df4c_8b88, 0x0a82_e883_a194_f07b];
const BASE_REVISION: [u64; 2] = [0xf956_2b2d_5c95_a6c8, 0x6a7b_3849_4453_6bdc];
const START_MARKER: [u64; 4] =
    [0xf6b8_f4b3_9de7_d1ae, 0xfab9_1a69_40fc_b9cf, 0x785c_6ed0_15d3_e316, 0x181e_920a_7852_b9d9];
const END_MARKER: [u64; 2] = [0xadc0_e053_1bb1_0d03, 0x9572_709f_3176_4c62];

/// Bytes of a request up to the fields that only some have.
const REQUEST_BYTES: u64 = 48;
/// No request has more fields of its own.
const MOST_FIELDS: usize = 3;

/// What a kernel can ask for, and is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Feature {
    LoaderInfo,
    CommandLine,
    FirmwareType,
    StackSize,
    Hhdm,
    Framebuffer,
    PagingMode,
    Mp,
    MemoryMap,
    EntryPoint,
    KernelFile,
    Modules,
    Rsdp,
    BootTime,
    KernelAddress,
}

/// The second half of each feature's id, and how many fields its request has of its own. A request that is
/// not here (SMBIOS, EFI, device tree, and what is newer) stays unanswered.
const FEATURES: [(Feature, [u64; 2], usize); 15] = [
    (Feature::LoaderInfo, [0xf550_38d8_e2a1_202f, 0x2794_26fc_f5f5_9740], 0),
    (Feature::CommandLine, [0x4b16_1536_e598_651e, 0xb390_ad4a_2f1f_303a], 0),
    (Feature::FirmwareType, [0x8c2f_75d9_0bef_28a8, 0x7045_a468_8eac_00c3], 0),
    (Feature::StackSize, [0x224e_f046_0a8e_8926, 0xe1cb_0fc2_5f46_ea3d], 1),
    (Feature::Hhdm, [0x48dc_f1cb_8ad2_b852, 0x6398_4e95_9a98_244b], 0),
    (Feature::Framebuffer, [0x9d58_27dc_d881_dd75, 0xa314_8604_f6fa_b11b], 0),
    (Feature::PagingMode, [0x95c1_a0ed_ab09_44cb, 0xa4e5_cb38_42f7_488a], 3),
    (Feature::Mp, [0x95a6_7b81_9a1b_857e, 0xa0b6_1b72_3b6a_73e0], 1),
    (Feature::MemoryMap, [0x67cf_3d9d_378a_806f, 0xe304_acdf_c50c_3c62], 0),
    (Feature::EntryPoint, [0x13d8_6c03_5a1c_d3e1, 0x2b0c_aa89_d8f3_026a], 1),
    (Feature::KernelFile, [0xad97_e90e_83f1_ed67, 0x31eb_5d1c_5ff2_3b69], 0),
    (Feature::Modules, [0x3e7e_2797_02be_32af, 0xca1c_4f3b_d128_0cee], 2),
    (Feature::Rsdp, [0xc5e7_7b6b_397e_7b43, 0x2763_7845_accd_cf3c], 0),
    (Feature::BootTime, [0x5027_46e1_84c0_88aa, 0xfbc5_ec83_e632_7893], 0),
    (Feature::KernelAddress, [0x71ba_7686_3cc5_5f63, 0xb264_4a48_c516_a487], 0),
];

/// A request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) feature: Feature,
    pub(super) paddr: u64,
    pub(super) revision: u64,
    fields: [u64; MOST_FIELDS],
}

/// All requests of a kernel.
#[derive(Debug)]
pub(super) struct Requests {
    /// The base revision by which the kernel is loaded.
    pub(super) revision: u64,
    pub(super) all: Vec<Request>,
}

/// An 8-byte word on its boundary: where it is in memory, and itself with what follows it in the segment.
struct Place<'a> {
    vaddr: u64,
    bytes: &'a [u8],
}

impl Place<'_> {
    fn word(&self, index: usize) -> Option<u64> {
        let bytes = self.bytes.get(index * 8..index * 8 + 8)?;
        bytes.try_into().ok().map(u64::from_le_bytes)
    }

    fn begins<const N: usize>(&self, words: [u64; N]) -> bool {
        words.iter().enumerate().all(|(index, &word)| self.word(index) == Some(word))
    }
}

/// Every aligned word of what the file has of the segments.
fn places<'a>(elf: &Elf<'a>) -> Result<Vec<Place<'a>>, BootError> {
    let mut interesting = Vec::new();
    for segment in elf.loads() {
        let bytes = elf.contents(segment)?;
        let skip = (segment.vaddr.wrapping_neg() % 8) as usize;
        for offset in (skip..bytes.len()).step_by(8) {
            let place = Place { vaddr: segment.vaddr.wrapping_add(offset as u64), bytes: &bytes[offset..] };
            let is_magic = place.begins(COMMON_MAGIC)
                || place.begins(BASE_REVISION)
                || place.begins(START_MARKER)
                || place.begins(END_MARKER);
            if is_magic {
                interesting.push(place);
            }
        }
    }
    interesting.sort_by_key(|place| place.vaddr);
    Ok(interesting)
}

/// Whether a kernel speaks the protocol.
pub(crate) fn has_requests(elf: &Elf<'_>) -> Result<bool, BootError> {
    let is_sign = |place: &Place<'_>| place.begins(BASE_REVISION) || place.begins(COMMON_MAGIC);
    Ok(places(elf)?.iter().any(is_sign))
}

impl Requests {
    /// Finds the requests of a loaded kernel and sets its base revision tag.
    pub(super) fn find(
        loader: &mut Loader<'_>,
        elf: &Elf<'_>,
        placed: Placed,
    ) -> Result<Requests, BootError> {
        let mut places = places(elf)?;
        if let Some(start) = places.iter().rposition(|place| place.begins(START_MARKER)) {
            places.drain(..=start);
        }
        if let Some(end) = places.iter().position(|place| place.begins(END_MARKER)) {
            places.truncate(end);
        }
        let mut requests = Requests { revision: 0, all: Vec::new() };
        let mut tags = places.iter().filter(|place| place.begins(BASE_REVISION));
        if let Some(tag) = tags.next() {
            requests.revision = set_base_revision(loader, tag, placed);
        }
        if tags.next().is_some() {
            return Err(bad_request("it has two base revision tags".to_owned()));
        }
        for place in &places {
            requests.add(loader, place, placed)?;
        }
        Ok(requests)
    }

    fn add(&mut self, loader: &Loader<'_>, place: &Place<'_>, placed: Placed) -> Result<(), BootError> {
        let known = FEATURES.iter().find(|(_, id, _)| {
            place.begins(COMMON_MAGIC) && place.word(2) == Some(id[0]) && place.word(3) == Some(id[1])
        });
        let Some(&(feature, _, field_count)) = known else { return Ok(()) };
        if self.has(feature) {
            return Err(bad_request(format!("it makes the request {feature:?} twice")));
        }
        let offset = place.vaddr.wrapping_sub(placed.vaddr);
        let paddr = placed.paddr.wrapping_add(offset);
        let word = |index: u64| {
            let mut bytes = [0; 8];
            // A request may end in the zeros after what the file has, but not beyond the kernel.
            if offset.saturating_add(REQUEST_BYTES + index * 8) < placed.length_bytes {
                loader.get(paddr + REQUEST_BYTES + index * 8, &mut bytes);
            }
            u64::from_le_bytes(bytes)
        };
        if offset.saturating_add(REQUEST_BYTES) > placed.length_bytes {
            return Err(bad_request(format!("its request {feature:?} ends beyond the kernel")));
        }
        let mut revision = [0; 8];
        loader.get(paddr + 32, &mut revision);
        let mut fields = [0; MOST_FIELDS];
        for (index, field) in fields.iter_mut().enumerate().take(field_count) {
            *field = word(index as u64);
        }
        self.all.push(Request { feature, paddr, revision: u64::from_le_bytes(revision), fields });
        Ok(())
    }

    pub(super) fn get(&self, feature: Feature) -> Option<&Request> {
        self.all.iter().find(|request| request.feature == feature)
    }

    pub(super) fn has(&self, feature: Feature) -> bool {
        self.get(feature).is_some()
    }

    /// A field of a request's own.
    pub(super) fn field(&self, feature: Feature, index: usize) -> Option<u64> {
        self.get(feature).map(|request| request.fields[index])
    }
}

/// Tells the kernel by which base revision it is loaded: the second word of the tag. The third becomes 0 if
/// that is the one it wants.
fn set_base_revision(loader: &mut Loader<'_>, tag: &Place<'_>, placed: Placed) -> u64 {
    let wanted = tag.word(2).unwrap_or(0);
    let revision = wanted.min(NEWEST_REVISION);
    let paddr = placed.paddr + (tag.vaddr - placed.vaddr);
    loader.put(paddr + 8, &revision.to_le_bytes());
    if wanted == revision {
        loader.put(paddr + 16, &0_u64.to_le_bytes());
    }
    revision
}

pub(super) fn bad_request(problem: String) -> BootError {
    BootError::Unsupported { problem, advice: "correct its Limine requests" }
}
