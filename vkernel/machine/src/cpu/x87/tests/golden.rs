//! Transcendental results as exact bits, which must be the same on every host.
//!
//! They were computed with mpmath at 3000 bits and more (with pi of 66 bits in the circular functions), then
//! rounded to nearest: so they also show that the results are correctly rounded.

use super::super::stack::{F80, ONE, status};
use super::Bench;

const F2XM1: [u8; 2] = [0xd9, 0xf0];
const FYL2X: [u8; 2] = [0xd9, 0xf1];
const FPTAN: [u8; 2] = [0xd9, 0xf2];
const FPATAN: [u8; 2] = [0xd9, 0xf3];
const FYL2XP1: [u8; 2] = [0xd9, 0xf9];
const FSINCOS: [u8; 2] = [0xd9, 0xfb];
const FSIN: [u8; 2] = [0xd9, 0xfe];
const FCOS: [u8; 2] = [0xd9, 0xff];

/// Instruction, ST(1) (0 if not used), ST(0), result.
#[rustfmt::skip]
const RESULTS: &[([u8; 2], F80, F80, F80)] = &[
    (F2XM1, 0, 0x3ff2_d351_d228_6513_270e, 0x3ff2_927c_5f07_38fb_f2aa),
    (F2XM1, 0, 0x3ff1_c497_c815_d23f_0824, 0x3ff1_8845_b17b_6919_2959),
    (F2XM1, 0, 0x3ff5_876c_823a_9531_985d, 0x3ff4_bbcd_f8cb_d033_2c5f),
    (F2XM1, 0, 0xbff8_84cc_a86c_36f6_75cc, 0xbff7_b795_3aef_0fa0_b647),
    (F2XM1, 0, 0x3f6f_88f1_05c7_6b0d_549b, 0x3f6e_bdd7_5a4b_583e_464d),
    (FSIN, 0, 0x4000_b656_a513_8d11_6ece, 0x3ffd_93a9_057a_a5e0_9d12),
    (FCOS, 0, 0x4000_b656_a513_8d11_6ece, 0xbffe_f51f_65f8_5bbd_73d9),
    (FPTAN, 0, 0x4000_b656_a513_8d11_6ece, 0xbffd_9a36_725f_d337_5430),
    (FSIN, 0, 0x4010_f946_082e_1fb1_7c23, 0x3ffe_fcf9_4429_913a_100e),
    (FCOS, 0, 0x4010_f946_082e_1fb1_7c23, 0xbffc_9cfc_b150_b75b_6729),
    (FPTAN, 0, 0x4010_f946_082e_1fb1_7c23, 0xc001_ce43_56db_63cf_0c50),
    (FSIN, 0, 0x4010_87eb_1878_f29d_0da9, 0x3ffe_ffe9_966d_ca35_b726),
    (FCOS, 0, 0x4010_87eb_1878_f29d_0da9, 0x3ff9_d639_d228_e8f7_d421),
    (FPTAN, 0, 0x4010_87eb_1878_f29d_0da9, 0x4004_98e8_6207_2f68_a21b),
    (FSIN, 0, 0xc010_8658_f14e_658c_da14, 0xbffe_fd65_fcdd_a387_dce9),
    (FCOS, 0, 0xc010_8658_f14e_658c_da14, 0x3ffc_919d_c3cb_d22b_7214),
    (FPTAN, 0, 0xc010_8658_f14e_658c_da14, 0xc001_debe_306f_0e45_7f0f),
    (FSIN, 0, 0x4000_c90f_daa2_2168_c235, 0xbfbf_8000_0000_0000_0000),
    (FCOS, 0, 0x4000_c90f_daa2_2168_c235, 0xbfff_8000_0000_0000_0000),
    (FPTAN, 0, 0x4000_c90f_daa2_2168_c235, 0x3fbf_8000_0000_0000_0000),
    (FSIN, 0, 0xc03d_c740_cb9f_0bec_d7b0, 0x3ffe_ffe3_d08e_d3c4_55cc),
    (FCOS, 0, 0xc03d_c740_cb9f_0bec_d7b0, 0x3ff9_f03b_3cd0_4f8b_62c7),
    (FPTAN, 0, 0xc03d_c740_cb9f_0bec_d7b0, 0x4004_8857_d938_56a9_c392),
    (FSIN, 0, 0x3fff_c90f_daa2_2168_c235, 0x3fff_8000_0000_0000_0000),
    (FCOS, 0, 0x3fff_c90f_daa2_2168_c235, 0xbfbe_8000_0000_0000_0000),
    (FPTAN, 0, 0x3fff_c90f_daa2_2168_c235, 0xc040_8000_0000_0000_0000),
    (FSIN, 0, 0xbf91_b5a6_5921_4a23_d596, 0xbf91_b5a6_5921_4a23_d596),
    (FCOS, 0, 0xbf91_b5a6_5921_4a23_d596, 0x3fff_8000_0000_0000_0000),
    (FPTAN, 0, 0xbf91_b5a6_5921_4a23_d596, 0xbf91_b5a6_5921_4a23_d596),
    (FYL2X, 0x3f78_a77c_551c_9227_6658, 0x57b6_d74b_dd4a_d0ed_a82f, 0x3f84_f846_32b6_059c_9b57),
    (FYL2X, 0x3f69_c91d_39b4_94e3_bf91, 0x61c7_afaa_b901_3018_50c5, 0x3f76_d451_f8f4_a9e8_4584),
    (FYL2X, 0x3f40_87a1_02da_907a_70c3, 0x5f3b_bf8a_8292_34b9_b5df, 0x3f4d_8464_bf9d_f672_0094),
    (FYL2X, 0xc0b5_a835_f977_c6f8_7718, 0x3fff_8000_0000_0000_0001, 0xc076_f2ad_4c0a_bc66_cca1),
    (FYL2X, 0x40d0_a65e_c3d6_5c90_a958, 0x3ffe_ffff_ffff_ffff_ffff, 0xc090_f005_7c45_ae15_a793),
    (FYL2XP1, 0x3fb8_e3d1_7510_b2f1_4c94, 0x3ffd_a66e_902a_930d_6eaf, 0x3fb7_b904_0aae_bef8_46ab),
    (FYL2XP1, 0xc0fa_abf7_02e6_e009_02c7, 0xbffb_cdf2_5e7e_49b6_4a08, 0x40f7_d259_4852_de1a_d5b8),
    (FYL2XP1, 0xbf4a_c187_03de_1e39_8f10, 0x3fd0_abc8_7c17_c1d3_fcff, 0xbf1c_bb5a_0794_da34_4dbe),
    (FYL2XP1, 0x40f4_8504_be4b_6bf4_6c69, 0xb000_c76f_06bd_c3ba_ea9e, 0xb0f6_9580_5b97_96ad_35d5),
    (FPATAN, 0xc002_d8ff_7047_5712_4242, 0x4007_e600_8e6e_9474_031b, 0xbff9_f174_ad0f_136d_3933),
    (FPATAN, 0x3ffa_8bfa_f41b_d708_20fe, 0xc000_d938_aca2_795e_8229, 0x4000_c86a_e3cf_1dd4_b9e7),
    (FPATAN, 0xbffa_dd96_a107_0f88_080b, 0xc001_c9fa_2459_a5aa_3c81, 0xc000_c883_6dda_bf2f_947f),
    (FPATAN, 0xc006_dbba_75a9_48db_40af, 0x4003_f867_2c1a_05c6_af07, 0xbfff_b717_c85a_2f96_24a4),
    (FPATAN, 0x30b5_ce32_9c9c_2b05_37e6, 0x32fc_9bee_3b7d_0f17_a300, 0x3db8_a943_5eb3_bd74_0080),
    (FPATAN, 0x8109_de82_b0f3_211c_70cf, 0x427e_b20a_a3ce_65dc_9f50, 0x8000_0000_0000_0000_0000),
];

#[test]
fn transcendental_results_are_correctly_rounded() {
    for &(instruction, st1, st0, result) in RESULTS {
        let mut bench = Bench::new();
        if st1 != 0 {
            bench.x87().push(st1);
        }
        bench.x87().push(st0);
        bench.execute(&instruction).expect("nothing is pending");
        if instruction == FPTAN {
            assert_eq!(bench.x87().st(0), ONE);
            bench.x87().pop();
        }
        assert_eq!(bench.x87().st(0), result, "{instruction:02x?} of {st0:020x}, {st1:020x}");
        assert_ne!(bench.x87().status & status::PE, 0);
        assert_eq!(bench.x87().valid.count_ones(), 1);
    }
}

#[test]
fn fsincos_gives_what_fsin_and_fcos_give() {
    let argument = 0x4005_b656_a513_8d11_6ece;
    let single = |instruction: &[u8]| {
        let mut bench = Bench::new();
        bench.x87().push(argument);
        bench.execute(instruction).expect("nothing is pending");
        bench.x87().st(0)
    };
    let mut bench = Bench::new();
    bench.x87().push(argument);
    bench.execute(&FSINCOS).expect("nothing is pending");
    assert_eq!((bench.x87().st(0), bench.x87().st(1)), (single(&FCOS), single(&FSIN)));
}

#[test]
fn exact_logarithms_and_powers_are_not_called_inexact() {
    let cases: [([u8; 2], F80, F80, F80); 3] = [
        // 3 * log2(8)
        (FYL2X, 0x4000_c000_0000_0000_0000, 0x4002_8000_0000_0000_0000, 0x4002_9000_0000_0000_0000),
        (F2XM1, 0, ONE, ONE),
        (F2XM1, 0, 0xbfff_8000_0000_0000_0000, 0xbffe_8000_0000_0000_0000),
    ];
    for (instruction, st1, st0, result) in cases {
        let mut bench = Bench::new();
        bench.x87().push(st1);
        bench.x87().push(st0);
        bench.execute(&instruction).expect("nothing is pending");
        assert_eq!(bench.x87().st(0), result);
        assert_eq!(bench.x87().status & status::EXCEPTIONS, 0);
    }
}
