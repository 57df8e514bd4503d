//! What the PC16550D data sheet promises, and what Linux's 8250 driver relies on.

use super::*;

const T0: VirtualTime = VirtualTime(1_000_000_000);

fn listening_uart() -> Uart {
    let mut uart = Uart::default();
    uart.write(T0, 2, 0x87); // FIFO on and cleared, trigger 8
    uart.write(T0, 1, IER_RECEIVED);
    uart
}

/// Advances through all deadlines until nothing is due any more.
fn settle(uart: &mut Uart) -> VirtualTime {
    let mut now = T0;
    while let Some(deadline) = uart.deadline() {
        assert!(deadline >= now, "time never runs backwards");
        now = deadline;
        uart.advance(now);
    }
    now
}

#[test]
fn transmitted_bytes_come_out_in_order() {
    let mut uart = Uart::default();
    for byte in *b"hello" {
        uart.write(T0, 0, byte);
    }
    assert_eq!(uart.take_transmitted(), b"hello");
    assert!(!uart.has_transmitted());
}

#[test]
fn enabling_the_transmitter_interrupt_raises_it_and_reading_iir_clears_it() {
    let mut uart = Uart::default();
    uart.write(T0, 1, IER_TRANSMITTER_EMPTY);
    assert!(uart.interrupt());
    assert_eq!(uart.read(T0, 2), IIR_TRANSMITTER_EMPTY);
    assert!(!uart.interrupt());
    assert_eq!(uart.read(T0, 2), IIR_NONE);
    // Off and on again must raise it once more: Linux tests for exactly this.
    uart.write(T0, 1, 0);
    uart.write(T0, 1, IER_TRANSMITTER_EMPTY);
    assert_eq!(uart.read(T0, 2), IIR_TRANSMITTER_EMPTY);
    uart.write(T0, 0, b'x');
    assert_eq!(uart.read(T0, 2), IIR_TRANSMITTER_EMPTY);
}

#[test]
fn reading_iir_keeps_the_transmitter_cause_while_a_higher_one_is_reported() {
    let mut uart = listening_uart();
    uart.write(T0, 2, 0x01);
    uart.write(T0, 1, IER_RECEIVED | IER_TRANSMITTER_EMPTY);
    uart.receive(T0, b"a");
    assert_eq!(uart.read(T0, 2), 0xc0 | IIR_RECEIVED);
    assert_eq!(uart.read(T0, 0), b'a');
    assert_eq!(uart.read(T0, 2), 0xc0 | IIR_TRANSMITTER_EMPTY);
    assert_eq!(uart.read(T0, 2), 0xc0 | IIR_NONE);
}

#[test]
fn the_trigger_level_and_the_time_out_raise_the_receive_interrupt() {
    let mut uart = listening_uart();
    uart.receive(T0, b"1234567");
    assert!(!uart.interrupt(), "7 bytes are below the trigger of 8");
    let now = settle(&mut uart);
    assert_eq!(now, T0.plus(6 * CHARACTER_NS + TIMEOUT_NS));
    assert_eq!(uart.read(now, 2), 0xc0 | IIR_TIMEOUT);
    assert_eq!(uart.read(now, 0), b'1');
    assert!(!uart.interrupt(), "a read ends the time-out");
    uart.receive(now, b"89");
    uart.advance(now.plus(CHARACTER_NS));
    assert_eq!(uart.read(now.plus(CHARACTER_NS), 2), 0xc0 | IIR_RECEIVED);
}

#[test]
fn a_paste_of_any_length_is_read_whole_and_paced() {
    let typed: Vec<u8> = (0..5000_u32).map(|number| number as u8).collect();
    let mut uart = listening_uart();
    uart.receive(T0, &typed);
    let (mut now, mut read) = (T0, Vec::new());
    while uart.unread_bytes() > 0 {
        while uart.read(now, 5).has(LSR_DATA_READY) {
            read.push(uart.read(now, 0));
        }
        if let Some(deadline) = uart.deadline() {
            now = deadline;
            uart.advance(now);
        }
    }
    assert_eq!(read, typed);
    assert!(now.0 - T0.0 >= 4990 * CHARACTER_NS, "no faster than the line");
}

#[test]
fn bytes_typed_before_the_driver_is_ready_survive_its_initialisation() {
    let mut uart = Uart::default();
    uart.receive(T0, b"ls\n");
    // Linux's serial8250_do_startup.
    for value in [0x01, 0x07, 0x00] {
        uart.write(T0, 2, value);
    }
    for offset in [5, 0, 2, 6] {
        uart.read(T0, offset);
    }
    uart.write(T0, 3, 0x03);
    // Is the device there? Is its transmitter empty? Does the interrupt of an empty one come again?
    for offset in [5, 5] {
        uart.read(T0, offset);
    }
    for (offset, value) in [(1, 0x02), (1, 0x00), (1, 0x02), (1, 0x00)] {
        uart.write(T0, offset, value);
        uart.read(T0, 2);
    }
    for offset in [5, 5, 5, 0, 2, 6] {
        uart.read(T0, offset);
    }
    uart.write(T0, 1, 0x05);
    uart.write(T0, 2, 0x81);
    settle(&mut uart);
    let now = T0.plus(10 * TIMEOUT_NS);
    assert_eq!([0; 3].map(|offset| uart.read(now, offset)), *b"ls\n");
}

#[test]
fn a_driver_that_prints_by_polling_does_not_take_what_was_typed_early() {
    let mut uart = Uart::default();
    uart.receive(T0, b"echo");
    for byte in *b"message\n" {
        // Linux waits before each byte, and after the last one of a message too.
        uart.read(T0, 5);
        uart.write(T0, 0, byte);
        uart.read(T0, 5);
    }
    assert!(!uart.read(T0, 5).has(LSR_DATA_READY));
    assert_eq!(uart.read(T0, 0), 0, "nothing to empty");
    uart.write(T0, 1, 1);
    uart.advance(T0);
    assert_eq!(uart.read(T0, 0), b'e');
}

#[test]
fn a_polling_guest_receives_without_interrupts() {
    let mut uart = Uart::default();
    uart.receive(T0, b"q");
    let polled = (0..POLLS_TO_LISTEN).any(|_| uart.read(T0, 5).has(LSR_DATA_READY));
    assert!(polled);
    assert_eq!(uart.read(T0, 0), b'q');
    assert!(!uart.interrupt());
}

#[test]
fn loopback_connects_transmitter_to_receiver_and_modem_outputs_to_inputs() {
    let mut uart = Uart::default();
    uart.write(T0, 4, 0x1a); // loop, OUT2, RTS
    assert_eq!(uart.read(T0, 6) & 0xf0, 0x90, "Linux's autoconfig asks for this");
    uart.write(T0, 2, 0x07);
    for byte in 0..=255 {
        uart.write(T0, 0, byte);
    }
    let mut count = 0;
    while uart.read(T0, 5).has(LSR_DATA_READY) {
        assert_eq!(uart.read(T0, 0), count);
        count += 1;
    }
    assert_eq!(usize::from(count), FIFO_BYTES, "Linux's size_fifo counts them");
    assert!(uart.take_transmitted().is_empty());
    uart.write(T0, 4, 0x0b);
    assert_eq!(uart.read(T0, 6) & 0xf0, MSR_CONNECTED);
}

#[test]
fn modem_deltas_are_latched_until_msr_is_read() {
    let mut uart = Uart::default();
    uart.write(T0, 1, IER_MODEM_STATUS);
    uart.write(T0, 4, MCR_LOOPBACK);
    assert_eq!(uart.read(T0, 2), IIR_MODEM_STATUS);
    assert_eq!(uart.read(T0, 6), 0x0b, "CTS, DSR and carrier fell");
    assert_eq!(uart.read(T0, 2), IIR_NONE);
}

#[test]
fn autoconfiguration_finds_a_16550a() {
    let mut uart = Uart::default();
    uart.write(T0, 1, 0xff);
    assert_eq!(uart.read(T0, 1), 0x0f);
    uart.write(T0, 2, 0x01);
    assert_eq!(uart.read(T0, 2) >> 6, 3, "16550A, not 16550");
    uart.write(T0, 7, 0xa5);
    assert_eq!(uart.read(T0, 7), 0xa5);
    uart.write(T0, 3, 0x83);
    uart.write(T0, 0, 0x34);
    uart.write(T0, 1, 0x12);
    assert_eq!([uart.read(T0, 0), uart.read(T0, 1)], [0x34, 0x12]);
    uart.write(T0, 3, 0x03);
    assert_eq!(uart.read(T0, 1), 0x0f, "the divisor latch hides IER, it does not change it");
}
