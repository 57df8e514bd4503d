//! One program's types, as its compiler describes them in several formats: all must come to the same.

use super::*;
use crate::expression::print_type;
use crate::symbols::Symbols;
use crate::testing::compile;
use object::{Object, ObjectSection};
use proptest::prelude::*;

const SOURCE: &str = r#"
typedef unsigned long size_type;
enum color { RED, GREEN = 5, BLUE };
enum negative { BELOW = -1, ABOVE = 1 };
struct opaque;
struct list { struct list *next, *prev; };
struct flags { unsigned low : 3; int : 2; int middle : 7; unsigned long high : 40; };
struct item {
    struct list link;
    const char *name;
    char text[12];
    unsigned char bytes[2][3];
    struct { int x, y; };
    union { long number; struct { short half, other; } parts; } value;
    enum color color;
    enum negative negative;
    struct flags flags;
    _Bool is_ready;
    double ratio;
    size_type size;
    struct opaque *hidden;
    int (*handler)(struct item *, const void *, ...);
    struct item *peers[4];
    volatile int rest[];
};
struct item item;
enum color color = GREEN;
void _start(void) { for (;;) ; }
"#;

fn parsed<R>(arguments: &[&str], check: impl FnOnce(&Symbols<'_>) -> R) -> R {
    let bytes = compile(SOURCE, arguments);
    check(&Symbols::parse(&bytes).expect("symbols"))
}

fn btf_of(arguments: &[&str]) -> Vec<u8> {
    let bytes = compile(SOURCE, &[&["-gbtf"], arguments].concat());
    let file = object::File::parse(bytes.as_slice()).expect("an ELF file");
    file.section_by_name(".BTF").expect("BTF").data().expect("bytes").to_vec()
}

fn described(symbols: &Symbols<'_>) -> String {
    let types = symbols.types();
    let tags = [(Keyword::Struct, "item"), (Keyword::Struct, "flags"), (Keyword::Enum, "negative")];
    let found = tags.map(|(keyword, name)| types.find(NameKind::Tag(keyword), name, None).expect(name));
    found.map(|type_ref| print_type(&type_ref, symbols)).join("\n")
}

const EXPECTED: &str = "\
struct item {
/*      0 */     struct list link;
/*     16 */     const char *name;
/*     24 */     char text[12];
/*     36 */     unsigned char bytes[2][3];
/*     44 */     struct {
/*     44 */         int x;
/*     48 */         int y;
                 };
/*     56 */     union {
/*     56 */         long int number;
/*     56 */         struct {
/*     56 */             short int half;
/*     58 */             short int other;
                     } parts;
                 } value;
/*     64 */     enum color color;
/*     68 */     enum negative negative;
/*     72 */     struct flags flags;
/*     80 */     _Bool is_ready;
/*     88 */     double ratio;
/*     96 */     size_type size;
/*    104 */     struct opaque *hidden;
/*    112 */     int (*handler)(struct item *, const void *, ...);
/*    120 */     struct item *peers[4];
/*    152 */     volatile int rest[];
} /* 152 bytes */
struct flags {
/*    0:0 */     unsigned int low : 3;
/*    0:5 */     int middle : 7;
/*    1:4 */     long unsigned int high : 40;
} /* 8 bytes */
enum negative {
    BELOW = -1,
    ABOVE = 1,
}";

#[test]
fn every_version_of_dwarf_describes_a_structure_as_its_source_does() {
    for version in ["-gdwarf-2", "-gdwarf-3", "-gdwarf-4", "-gdwarf-5"] {
        for level in ["-O0", "-O2"] {
            parsed(&[version, "-gno-strict-dwarf", level], |symbols| {
                assert_eq!(described(symbols), EXPECTED, "{version} {level}");
            });
        }
    }
}

#[test]
fn btf_describes_it_the_same() {
    let symbols = Symbols::none();
    assert!(symbols.types().is_empty());
    assert!(symbols.types().add_btf(btf_of(&["-O1"])));
    // BTF has no variable length: `[]` is an array of none. This compiler writes dimensions in the wrong order.
    let order = ["bytes[2][3]", "bytes[3][2]"];
    let text = described(&symbols).replace(order[1], order[0]);
    assert_eq!(text, EXPECTED.replace("rest[]", "rest[0]"));
}

#[test]
fn numbers_that_fill_their_form_have_no_sign() {
    let source = "enum { HIGH = 200, TOP = 0x80000000u, ALL = 0xffffffffu } numbers; enum { LOW = -56 } low;\
                  char a[128], b[129], c[200], d[256], e[257], f[65536], g[0]; void _start(void) { for (;;) ; }";
    for version in ["-gdwarf-3", "-gdwarf-4", "-gdwarf-5"] {
        let bytes = compile(source, &[version]);
        let symbols = Symbols::parse(&bytes).expect("symbols");
        let value = |name: &str| symbols.types().enumerator(name, None).map(|(_, value)| value);
        let values = ["HIGH", "TOP", "ALL", "LOW"].map(|name| value(name).expect(name));
        assert_eq!(values, [200, 0x8000_0000, 0xffff_ffff, -56], "{version}");
        let size = |name: &str| {
            let type_ref = symbols.global(name, None).expect(name).type_ref.expect(name);
            symbols.types().size_bytes(&type_ref).expect(name)
        };
        assert_eq!(["a", "b", "c", "d", "e", "f", "g"].map(size), [128, 129, 200, 256, 257, 65536, 0]);
    }
}

#[test]
fn sizes_members_and_enumerators_are_found_by_their_names() {
    parsed(&["-g"], |symbols| {
        let types = symbols.types();
        let item = types.find(NameKind::Tag(Keyword::Struct), "item", None).expect("item");
        assert_eq!(types.size_bytes(&item), Ok(152));
        let place = |name: &str| types.member(&item, name).expect("complete").map(|it| it.offset_bits / 8);
        assert_eq!((place("y"), place("number"), place("missing")), (Some(48), None, None));
        assert_eq!(types.enumerator("BLUE", None).map(|(_, value)| value), Some(6));
        assert_eq!(types.enumerator("BELOW", None).map(|(_, value)| value), Some(-1));
        assert_eq!(types.enumerator("PURPLE", None), None);
        let hidden = types.member(&item, "hidden").expect("complete").expect("a member").type_ref;
        assert_eq!(types.name(&hidden), "struct opaque *");
        let (_, pointer) = types.resolve(&hidden).expect("a pointer");
        let Shape::Pointer(opaque) = &pointer.shape else { panic!("{pointer:?}") };
        assert_eq!(types.size_bytes(opaque), Err(TypeError::Incomplete("struct opaque".to_owned())));
    });
}

#[test]
fn a_program_for_32_bits_has_pointers_of_4_bytes() {
    let bytes = compile(&SOURCE.replace(": 40", ": 20"), &["-g", "-m32"]);
    let symbols = Symbols::parse(&bytes).expect("symbols");
    let types = symbols.types();
    let list = types.find(NameKind::Tag(Keyword::Struct), "list", None).expect("list");
    assert_eq!(types.size_bytes(&list), Ok(8));
    assert_eq!(types.model().pointer_bytes, 4);
}

#[test]
fn type_information_that_is_cut_is_refused_or_gives_less() {
    let bytes = compile(SOURCE, &["-g"]);
    for length in (0..bytes.len()).step_by(61) {
        if let Ok(symbols) = Symbols::parse(&bytes[..length]) {
            let _ = symbols.types().find(NameKind::Tag(Keyword::Struct), "item", None);
            let _ = symbols.types().enumerator("GREEN", None);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn damaged_btf_is_refused_or_read_without_a_panic(seed in 0..u64::MAX, cut in 24..4000_usize) {
        static BTF: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| btf_of(&[]));
        let mut bytes = BTF.clone();
        let at = (seed >> 8) as usize % bytes.len();
        bytes[at] = seed as u8;
        bytes.truncate(cut.max(bytes.len() / 2));
        let symbols = Symbols::none();
        if symbols.types().add_btf(bytes) {
            for number in 0..64 {
                let type_ref = TypeRef::Btf(Source::KERNEL, number);
                let _ = (print_type(&type_ref, &symbols), symbols.types().size_bytes(&type_ref));
            }
        }
    }
}
