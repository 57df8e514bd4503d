//! What travels between the APICs: interrupt messages of the I/O APIC, MSI and the ICR.
//!
//! Intel SDM volume 3, 12.6 and 12.11; 82093AA data sheet 3.2.4. SMI is carried but nobody takes it: the
//! machine has no system management mode.

use boundary::LandmarkKind;

/// How a local APIC treats a message; the encoding is that of bits 10:8 in every register that has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The vector, at every destination.
    Fixed,
    /// The vector, at the destination with the lowest priority.
    LowestPriority,
    /// System management interrupt: dropped.
    Smi,
    /// Reserved encoding 3: dropped.
    Reserved,
    /// Non-maskable interrupt; the vector is ignored.
    Nmi,
    /// INIT.
    Init,
    /// Start-up IPI; the vector is the page to start at.
    StartUp,
    /// The destination runs an acknowledge cycle at the PIC.
    ExtInt,
}

impl Delivery {
    /// Decodes bits 10:8 of `register`.
    #[must_use]
    pub fn decode(register: u32) -> Delivery {
        match (register >> 8) & 7 {
            0 => Delivery::Fixed,
            1 => Delivery::LowestPriority,
            2 => Delivery::Smi,
            3 => Delivery::Reserved,
            4 => Delivery::Nmi,
            5 => Delivery::Init,
            6 => Delivery::StartUp,
            _ => Delivery::ExtInt,
        }
    }
}

/// What a redirection entry of the I/O APIC (its lower half) and an entry of the LVT say alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The vector.
    pub vector: u8,
    /// How it is delivered.
    pub delivery: Delivery,
    /// The input is asserted when it is low.
    pub active_low: bool,
    /// A level was delivered, and its EOI is outstanding.
    pub remote_irr: bool,
    /// Triggered by the level, not by the edge.
    pub level: bool,
    /// Nothing is delivered.
    pub masked: bool,
}

impl Route {
    /// Decodes such a register.
    #[must_use]
    pub fn decode(register: u32) -> Route {
        Route {
            vector: register as u8,
            delivery: Delivery::decode(register),
            active_low: register & 1 << 13 != 0,
            remote_irr: register & 1 << 14 != 0,
            level: register & 1 << 15 != 0,
            masked: register & 1 << 16 != 0,
        }
    }
}

/// Where an interrupt began; remembered beside each pending bit so that a landmark can name it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// A device line or MSI.
    #[default]
    Device,
    /// PIT, HPET, RTC or a local APIC timer.
    Timer,
    /// Another vCPU, or this one.
    Ipi,
}

crate::persist_enum!(Source { Device, Timer, Ipi });

impl From<LandmarkKind> for Source {
    fn from(kind: LandmarkKind) -> Source {
        match kind {
            LandmarkKind::Timer => Source::Timer,
            LandmarkKind::Ipi => Source::Ipi,
            LandmarkKind::Device | LandmarkKind::Completion => Source::Device,
        }
    }
}

impl From<Source> for LandmarkKind {
    fn from(source: Source) -> LandmarkKind {
        match source {
            Source::Device => LandmarkKind::Device,
            Source::Timer => LandmarkKind::Timer,
            Source::Ipi => LandmarkKind::Ipi,
        }
    }
}

/// The destination field of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    /// APIC ID or logical mask. A message from the I/O APIC, an MSI or an xAPIC ICR has 8 bits.
    pub id: u32,
    /// Whether `id` is compared with the logical destination register.
    pub logical: bool,
    /// Whether all 32 bits count, as in an x2APIC ICR. Decides what the broadcast value is.
    pub wide: bool,
}

impl Destination {
    /// A destination of 8 bits.
    #[must_use]
    pub fn narrow(id: u8, logical: bool) -> Destination {
        Destination { id: u32::from(id), logical, wide: false }
    }

    /// Whether every local APIC is meant. An 8-bit 0xff means all in physical mode whatever the mode of the
    /// receiver, because the bus agents that send 8 bits know no other way to say it.
    #[must_use]
    pub fn is_broadcast(&self) -> bool {
        if self.wide { self.id == u32::MAX } else { !self.logical && self.id == 0xff }
    }
}

/// One interrupt message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Vector, or the page of a start-up IPI.
    pub vector: u8,
    /// What the receiver does with it.
    pub delivery: Delivery,
    /// Level triggered: the receiver's EOI is broadcast to the I/O APIC.
    pub level: bool,
    /// Who receives it.
    pub destination: Destination,
    /// Where it began.
    pub source: Source,
}

impl Message {
    /// The message of an MSI write; `None` when the address is not in the interrupt range.
    #[must_use]
    pub fn from_msi(address: u64, data: u32) -> Option<Message> {
        if address >> 20 != 0xfee {
            return None;
        }
        // The redirection hint asks for one receiver among those of a logical destination.
        let redirect = address & 8 != 0 && address & 4 != 0;
        let delivery = match Delivery::decode(data) {
            Delivery::Fixed if redirect => Delivery::LowestPriority,
            other => other,
        };
        let level = data & 0x8000 != 0;
        if level && data & 0x4000 == 0 {
            return None;
        }
        Some(Message {
            vector: data as u8,
            delivery,
            level,
            destination: Destination::narrow((address >> 12) as u8, address & 4 != 0),
            source: Source::Device,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn msi_address_and_data_are_decoded() {
        let message = Message::from_msi(0xfee0_3000, 0x0041).unwrap();
        assert_eq!(message.destination, Destination::narrow(3, false));
        assert_eq!((message.vector, message.delivery, message.level), (0x41, Delivery::Fixed, false));
        let message = Message::from_msi(0xfee0_300c, 0x0141).unwrap();
        assert!(message.destination.logical);
        assert_eq!(message.delivery, Delivery::LowestPriority);
        assert_eq!(Message::from_msi(0xfed0_0000, 0x41), None);
    }

    #[test]
    fn each_bit_of_a_route_has_its_place() {
        let open = Route {
            vector: 0x41,
            delivery: Delivery::Fixed,
            active_low: false,
            remote_irr: false,
            level: false,
            masked: false,
        };
        assert_eq!(Route::decode(0x41), open);
        assert_eq!(Route::decode(0x2041), Route { active_low: true, ..open });
        assert_eq!(Route::decode(0x4041), Route { remote_irr: true, ..open });
        assert_eq!(Route::decode(0x8041), Route { level: true, ..open });
        assert_eq!(Route::decode(0x1_0741), Route { masked: true, delivery: Delivery::ExtInt, ..open });
    }

    #[test]
    fn deasserting_a_level_msi_sends_nothing() {
        assert_eq!(Message::from_msi(0xfee0_0000, 0x8041), None);
        assert!(Message::from_msi(0xfee0_0000, 0xc041).unwrap().level);
    }

    #[test]
    fn broadcast_depends_on_the_width() {
        assert!(Destination::narrow(0xff, false).is_broadcast());
        assert!(!Destination::narrow(0xff, true).is_broadcast());
        assert!(!Destination { id: 0xff, logical: false, wide: true }.is_broadcast());
        assert!(Destination { id: u32::MAX, logical: true, wide: true }.is_broadcast());
    }
}
