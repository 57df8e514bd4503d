//! From a tree to a program: names, types and members resolved.

use super::arithmetic::Scalar;
use super::lexer::Integer;
use super::parser::{Binary, Designator, Tree, Unary, parse};
use super::program::{Bits, Node, PlaceNode, Program, Root};
use super::type_name::TypeName;
use super::{ExprError, NameScope};
use crate::registers::RegisterName;
use crate::symbols::types::{DataModel, MemberPlace, NameKind, Shape, Type, TypeRef, Types};
use crate::symbols::{Location, Symbols};
use std::sync::Arc;

pub(super) fn compile(text: &str, scope: &NameScope, symbols: &Symbols<'_>) -> Result<Program, ExprError> {
    let compiler = Compiler { scope, symbols };
    let is_type =
        |name: &str| !compiler.is_local(name) && compiler.find_type(NameKind::Ordinary, name).is_some();
    let operand = compiler.operand(&parse(text, &is_type)?)?;
    let types = symbols.types();
    let type_ref = operand.type_ref.clone();
    let root = match operand.content {
        Content::Untyped(name, _) => return Err(ExprError::UntypedName(name)),
        Content::Number(node) => {
            let kind = compiler.scalar(&type_ref)?;
            Root::Number(node, kind)
        }
        Content::Bits(place, bits) => Root::Bits(place, bits, compiler.scalar(&type_ref)?),
        Content::Place(place) => match types.resolve(&type_ref)?.1.shape {
            // A function's value is where it is.
            Shape::Function { .. } => {
                let pointer = Scalar::integer(compiler.model().pointer_bytes, false);
                Root::Number(Node::Address(Box::new(place)), pointer)
            }
            Shape::Void => return Err(ExprError::Operand("`void` has no value".to_owned())),
            _ => Root::Place(place, types.size_bytes(&type_ref)?),
        },
    };
    Ok(Program { root, type_ref })
}

/// A part of an expression, with its type.
struct Operand {
    content: Content,
    type_ref: TypeRef,
}

enum Content {
    Number(Node),
    Place(PlaceNode),
    Bits(PlaceNode, Bits),
    /// A symbol that nothing describes: good for its address only.
    Untyped(String, PlaceNode),
}

/// A number with its kind and type.
struct Number {
    node: Node,
    kind: Scalar,
    type_ref: TypeRef,
}

struct Compiler<'a, 'data> {
    scope: &'a NameScope,
    symbols: &'a Symbols<'data>,
}

fn refuse<T>(message: String) -> Result<T, ExprError> {
    Err(ExprError::Operand(message))
}

impl<'a, 'data> Compiler<'a, 'data> {
    fn types(&self) -> &'a Types<'data> {
        self.symbols.types()
    }

    fn model(&self) -> DataModel {
        self.types().model()
    }

    fn find_type(&self, kind: NameKind, name: &str) -> Option<TypeRef> {
        self.types().find(kind, name, self.scope.module.as_deref())
    }

    fn named(&self, name: &TypeName) -> Result<TypeRef, ExprError> {
        name.resolve(self.model(), &|kind, name| self.find_type(kind, name))
    }

    fn is_local(&self, name: &str) -> bool {
        self.scope.scopes.iter().flat_map(|scope| &scope.variables).any(|variable| variable.name == name)
    }

    fn arithmetic(&self, kind: Scalar) -> TypeRef {
        self.model().arithmetic_type(kind.size_bytes, kind.is_signed)
    }

    fn scalar(&self, type_ref: &TypeRef) -> Result<Scalar, ExprError> {
        match Scalar::of(self.types(), type_ref)? {
            Some(kind) => Ok(kind),
            None => refuse(format!("a `{}` is no number to compute with", self.types().name(type_ref))),
        }
    }

    /// What a pointer points to.
    fn pointee(&self, type_ref: &TypeRef) -> Result<Option<TypeRef>, ExprError> {
        match &self.types().resolve(type_ref)?.1.shape {
            Shape::Pointer(target) => Ok(Some(target.clone())),
            _ => Ok(None),
        }
    }

    fn operand(&self, tree: &Tree) -> Result<Operand, ExprError> {
        match tree {
            Tree::Integer(integer) => Ok(self.literal(*integer)),
            Tree::Name(name) => self.name(name),
            Tree::Register(name) => self.register(name),
            Tree::Unary(operator, inner) => self.unary(*operator, inner),
            Tree::Binary(operator, left, right) => self.binary(*operator, left, right),
            Tree::Conditional(condition, yes, no) => self.conditional(condition, yes, no),
            Tree::Member(inner, name) => self.member(inner, name, false),
            Tree::Arrow(inner, name) => self.member(inner, name, true),
            Tree::Index(array, index) => self.index(array, index),
            Tree::Cast(name, inner) => self.cast(name, inner),
            Tree::SizeOfType(name) => {
                let size = self.types().size_bytes(&self.named(name)?)?;
                Ok(self.unsigned_long(Node::Constant(size)))
            }
            Tree::SizeOf(inner) => {
                let operand = self.operand(inner)?;
                if let Content::Untyped(name, _) = operand.content {
                    return Err(ExprError::UntypedName(name));
                }
                let size = self.types().size_bytes(&operand.type_ref)?;
                Ok(self.unsigned_long(Node::Constant(size)))
            }
            Tree::ContainerOf(pointer, of, path) => self.container_of(pointer, of, path),
            Tree::OffsetOf(of, path) => {
                let (offset, _) = self.path_offset(&self.named(of)?, path)?;
                Ok(self.unsigned_long(offset))
            }
            Tree::PerCpu(name, cpu) => self.per_cpu(name, cpu),
            Tree::PerCpuPointer(pointer, cpu) => self.per_cpu_pointer(pointer, cpu),
            Tree::Repeat(first, count) => self.repeat(first, count),
        }
    }

    fn unsigned_long(&self, node: Node) -> Operand {
        let type_ref = self.model().arithmetic_type(self.model().pointer_bytes, false);
        Operand { content: Content::Number(node), type_ref }
    }

    fn literal(&self, integer: Integer) -> Operand {
        let fits = |bits: u32| integer.value >> bits == 0;
        let may_be_signed = !integer.is_unsigned;
        let may_be_unsigned = integer.is_unsigned || !integer.is_decimal;
        let candidates = [(4, true, 31), (4, false, 32), (8, true, 63), (8, false, 64)];
        let kind = candidates.into_iter().find(|(bytes, is_signed, bits)| {
            let is_allowed = if *is_signed { may_be_signed } else { may_be_unsigned };
            is_allowed && (!integer.is_long || *bytes == 8) && (*bits == 64 || fits(*bits))
        });
        let (size_bytes, is_signed, _) = kind.unwrap_or((8, false, 64));
        let type_ref = match integer.is_char {
            true => self.model().base_type("char").unwrap_or(TypeRef::Void),
            false => self.model().arithmetic_type(size_bytes, is_signed),
        };
        Operand { content: Content::Number(Node::Constant(integer.value)), type_ref }
    }

    fn name(&self, name: &str) -> Result<Operand, ExprError> {
        let mut locals = self.scope.scopes.iter().flat_map(|scope| scope.variables.iter().rev());
        if let Some(variable) = locals.find(|variable| variable.name == name) {
            let place = match variable.location {
                Location::Address(vaddr) if self.symbols.is_per_cpu(vaddr) => self.own_copy(vaddr),
                _ => self.variable(name, &variable.location, &variable.type_ref)?,
            };
            return Ok(Operand { content: Content::Place(place), type_ref: variable.type_ref.clone() });
        }
        if let Some(global) = self.symbols.global(name, self.scope.vaddr) {
            let place = match (&global.location, global.is_per_cpu) {
                (Location::Address(vaddr), true) => self.own_copy(*vaddr),
                (Location::Address(vaddr), false) => PlaceNode::At(Box::new(Node::Constant(*vaddr))),
                (location, _) => match &global.type_ref {
                    Some(type_ref) => self.variable(name, location, type_ref)?,
                    None => return Err(ExprError::UnknownName(name.to_owned())),
                },
            };
            return Ok(self.global_operand(name, global.type_ref, place, &global.location));
        }
        if let Some((type_ref, value)) = self.types().enumerator(name, self.scope.module.as_deref()) {
            return Ok(Operand { content: Content::Number(Node::Constant(value as u64)), type_ref });
        }
        if name == "current" {
            return self.current();
        }
        Err(ExprError::UnknownName(name.to_owned()))
    }

    /// What the vCPU executes. From 6.2 to 6.14 the variable is a member, and 5.10's BTF has no variables.
    fn current(&self) -> Result<Operand, ExprError> {
        let hot = || self.member(&Tree::Name("pcpu_hot".to_owned()), "current_task", false);
        match (self.name("current_task").or_else(|_| hot())?, self.types().structure("task_struct")) {
            (Operand { content: Content::Untyped(_, place), .. }, Some(task)) => {
                Ok(Operand { content: Content::Place(place), type_ref: self.model().pointer_to(task) })
            }
            (found, _) => Ok(found),
        }
    }

    /// The copy of a per-CPU variable that belongs to the vCPU that is looked at.
    fn own_copy(&self, vaddr: u64) -> PlaceNode {
        let base = Box::new(Node::PerCpuBase);
        PlaceNode::At(Box::new(self.sum(base, Box::new(Node::Constant(vaddr)))))
    }

    fn global_operand(
        &self,
        name: &str,
        type_ref: Option<TypeRef>,
        place: PlaceNode,
        location: &Location,
    ) -> Operand {
        match (type_ref, location) {
            (Some(type_ref), _) => Operand { content: Content::Place(place), type_ref },
            (None, Location::Address(vaddr)) if self.symbols.is_code(*vaddr) => {
                let returns = TypeRef::Void;
                let shape = Shape::Function { returns, parameters: Vec::new(), is_variadic: true };
                Operand { content: Content::Place(place), type_ref: TypeRef::made(None, 1, shape) }
            }
            (None, _) => {
                Operand { content: Content::Untyped(name.to_owned(), place), type_ref: TypeRef::Void }
            }
        }
    }

    fn variable(&self, name: &str, location: &Location, type_ref: &TypeRef) -> Result<PlaceNode, ExprError> {
        let length_bytes = self.types().size_bytes(type_ref)?;
        Ok(PlaceNode::Variable { name: name.to_owned(), location: location.clone(), length_bytes })
    }

    /// A CPU's copy: Linux lists in an array how far each lies from the original.
    fn per_cpu(&self, name: &str, cpu: &Tree) -> Result<Operand, ExprError> {
        let global = self.symbols.global(name, self.scope.vaddr);
        let global = global.ok_or_else(|| ExprError::UnknownName(name.to_owned()))?;
        let (Location::Address(vaddr), true) = (&global.location, global.is_per_cpu) else {
            return refuse(format!("`{name}` is no per-CPU variable"));
        };
        let place = self.on_cpu(Node::Constant(*vaddr), cpu)?;
        Ok(self.global_operand(name, global.type_ref, place, &global.location))
    }

    fn per_cpu_pointer(&self, pointer: &Tree, cpu: &Tree) -> Result<Operand, ExprError> {
        let pointer = self.number(pointer)?;
        if self.pointee(&pointer.type_ref)?.is_none() {
            return refuse("per_cpu_ptr needs a pointer".to_owned());
        }
        let address = Node::Address(Box::new(self.on_cpu(pointer.node, cpu)?));
        Ok(Operand { content: Content::Number(address), type_ref: pointer.type_ref })
    }

    fn on_cpu(&self, address: Node, cpu: &Tree) -> Result<PlaceNode, ExprError> {
        const OFFSETS: &str = "__per_cpu_offset";
        let table = self.symbols.address_of(OFFSETS);
        let table = table.ok_or_else(|| ExprError::UnknownName(OFFSETS.to_owned()))?;
        let cpu = self.number(cpu)?;
        let word = Scalar::integer(self.model().pointer_bytes, false);
        let entry = self.scaled(cpu.node, self.model().pointer_bytes);
        let place = PlaceNode::At(Box::new(self.sum(Box::new(Node::Constant(table)), Box::new(entry))));
        let offset = Box::new(Node::Load(Box::new(place), word));
        Ok(PlaceNode::At(Box::new(self.sum(offset, Box::new(address)))))
    }

    fn register(&self, name: &str) -> Result<Operand, ExprError> {
        let register =
            RegisterName::parse(name).ok_or_else(|| ExprError::UnknownRegister(name.to_owned()))?;
        let word = self.model().pointer_bytes;
        let bytes = register.length_bytes().min(if register == RegisterName::Vcpu { 4 } else { word });
        // As in gdb, what holds addresses is a pointer, and the others are numbers.
        let type_ref = match (name, bytes) {
            ("rip" | "eip" | "pc" | "rsp" | "esp" | "sp" | "rbp" | "ebp" | "fp", _) => {
                self.model().pointer_to(TypeRef::Void)
            }
            (_, 2) => self.model().base_type("short int").unwrap_or(TypeRef::Void),
            (_, 1) => self.model().base_type("signed char").unwrap_or(TypeRef::Void),
            _ => self.model().arithmetic_type(bytes, true),
        };
        let kind = self.scalar(&type_ref)?;
        let node = Node::Convert(Box::new(Node::Register(register, name.to_owned())), kind);
        Ok(Operand { content: Content::Number(node), type_ref })
    }

    /// The value of an operand: arrays and functions turn to pointers.
    fn number_of(&self, operand: Operand) -> Result<Number, ExprError> {
        let type_ref = operand.type_ref;
        let (_, found) = self.types().resolve(&type_ref)?;
        let pointer = |target: TypeRef, place: PlaceNode| {
            let kind = Scalar::integer(self.model().pointer_bytes, false);
            let type_ref = self.model().pointer_to(target);
            Ok(Number { node: Node::Address(Box::new(place)), kind, type_ref })
        };
        match (operand.content, &found.shape) {
            (Content::Untyped(name, _), _) => Err(ExprError::UntypedName(name)),
            (Content::Place(place), Shape::Array { element, .. }) => pointer(element.clone(), place),
            (Content::Place(place), Shape::Function { .. }) => pointer(type_ref, place),
            (content, _) => {
                let kind = self.scalar(&type_ref)?;
                let node = match content {
                    Content::Number(node) => node,
                    Content::Place(place) => Node::Load(Box::new(place), kind),
                    Content::Bits(place, bits) => Node::LoadBits(Box::new(place), bits, kind),
                    Content::Untyped(name, _) => return Err(ExprError::UntypedName(name)),
                };
                Ok(Number { node, kind, type_ref })
            }
        }
    }

    fn number(&self, tree: &Tree) -> Result<Number, ExprError> {
        self.number_of(self.operand(tree)?)
    }

    fn computed(&self, node: Node, kind: Scalar) -> Operand {
        Operand { content: Content::Number(node), type_ref: self.arithmetic(kind) }
    }

    fn unary(&self, operator: Unary, inner: &Tree) -> Result<Operand, ExprError> {
        match operator {
            Unary::Address => return self.address_of(inner),
            Unary::Dereference => return self.dereference(inner),
            _ => {}
        }
        let number = self.number(inner)?;
        if operator == Unary::Not {
            let int = Scalar::integer(4, true);
            let zero = Box::new(Node::Constant(0));
            let node = Node::Compute(Binary::Equal, Box::new(number.node), zero, number.kind);
            return Ok(self.computed(node, int));
        }
        if self.pointee(&number.type_ref)?.is_some() {
            return refuse("that cannot be done to a pointer".to_owned());
        }
        let kind = number.kind.promoted();
        let value = Box::new(Node::Convert(Box::new(number.node), kind));
        let node = match operator {
            Unary::Negate => Node::Compute(Binary::Subtract, Box::new(Node::Constant(0)), value, kind),
            Unary::Complement => {
                Node::Compute(Binary::BitXor, value, Box::new(Node::Constant(kind.fit(u64::MAX))), kind)
            }
            _ => *value,
        };
        Ok(self.computed(node, kind))
    }

    fn address_of(&self, inner: &Tree) -> Result<Operand, ExprError> {
        let operand = self.operand(inner)?;
        let place = match operand.content {
            Content::Place(place) | Content::Untyped(_, place) => place,
            Content::Bits(..) => return refuse("a bit-field has no address".to_owned()),
            Content::Number(_) => return refuse("that value has no address".to_owned()),
        };
        let type_ref = self.model().pointer_to(operand.type_ref);
        Ok(Operand { content: Content::Number(Node::Address(Box::new(place))), type_ref })
    }

    fn dereference(&self, inner: &Tree) -> Result<Operand, ExprError> {
        let number = self.number(inner)?;
        let Some(target) = self.pointee(&number.type_ref)? else {
            let name = self.types().name(&number.type_ref);
            return refuse(format!("`*` needs a pointer, and this is a `{name}`"));
        };
        Ok(Operand { content: Content::Place(PlaceNode::At(Box::new(number.node))), type_ref: target })
    }

    fn member(&self, inner: &Tree, name: &str, is_arrow: bool) -> Result<Operand, ExprError> {
        let operand = self.operand(inner)?;
        // As gdb has it, a dot behind a pointer is an arrow.
        let (place, of) = match (self.pointee(&operand.type_ref)?, operand.content) {
            (Some(target), content) => {
                let number = self.number_of(Operand { content, type_ref: operand.type_ref })?;
                (PlaceNode::At(Box::new(number.node)), target)
            }
            (None, Content::Place(place)) if !is_arrow || self.is_array(&operand.type_ref)? => {
                (place, self.element_or_self(&operand.type_ref, is_arrow)?)
            }
            (None, Content::Untyped(name, _)) => return Err(ExprError::UntypedName(name)),
            (None, _) => {
                let of = self.types().name(&operand.type_ref);
                return refuse(format!("`{}` cannot follow a `{of}`", if is_arrow { "->" } else { "." }));
            }
        };
        let found = self.types().member(&of, name)?;
        let found = found.ok_or_else(|| self.no_member(&of, name))?;
        Ok(self.part(place, found))
    }

    fn is_array(&self, type_ref: &TypeRef) -> Result<bool, ExprError> {
        Ok(matches!(self.types().resolve(type_ref)?.1.shape, Shape::Array { .. }))
    }

    fn element_or_self(&self, type_ref: &TypeRef, is_arrow: bool) -> Result<TypeRef, ExprError> {
        match &self.types().resolve(type_ref)?.1.shape {
            Shape::Array { element, .. } if is_arrow => Ok(element.clone()),
            _ => Ok(type_ref.clone()),
        }
    }

    fn no_member(&self, of: &TypeRef, name: &str) -> ExprError {
        ExprError::UnknownMember { of: self.types().name(of), member: name.to_owned() }
    }

    fn part(&self, place: PlaceNode, member: MemberPlace) -> Operand {
        let offset = Box::new(Node::Constant(member.offset_bits / 8));
        let place = PlaceNode::Moved(Box::new(place), offset);
        let content = match member.width_bits {
            Some(width) => {
                let bits = Bits { shift: (member.offset_bits % 8) as u32, width: width.min(64) as u32 };
                Content::Bits(place, bits)
            }
            None => Content::Place(place),
        };
        Operand { content, type_ref: member.type_ref }
    }

    fn index(&self, array: &Tree, index: &Tree) -> Result<Operand, ExprError> {
        let operand = self.operand(array)?;
        let index = self.number(index)?;
        let (_, found) = self.types().resolve(&operand.type_ref)?;
        let (place, element) = match (operand.content, &found.shape) {
            (Content::Place(place), Shape::Array { element, .. }) => (place, element.clone()),
            (content, Shape::Pointer(target)) => {
                let target = target.clone();
                let number = self.number_of(Operand { content, type_ref: operand.type_ref })?;
                (PlaceNode::At(Box::new(number.node)), target)
            }
            (Content::Untyped(name, _), _) => return Err(ExprError::UntypedName(name)),
            _ => return refuse(format!("a `{}` has no elements", self.types().name(&operand.type_ref))),
        };
        let size = self.types().size_bytes(&element)?;
        let place = PlaceNode::Moved(Box::new(place), Box::new(self.scaled(index.node, size)));
        Ok(Operand { content: Content::Place(place), type_ref: element })
    }

    fn address_kind(&self) -> Scalar {
        Scalar::integer(self.model().pointer_bytes, false)
    }

    fn scaled(&self, node: Node, size_bytes: u64) -> Node {
        let size = Box::new(Node::Constant(size_bytes));
        Node::Compute(Binary::Multiply, Box::new(node), size, self.address_kind())
    }

    fn sum(&self, left: Box<Node>, right: Box<Node>) -> Node {
        Node::Compute(Binary::Add, left, right, self.address_kind())
    }

    fn binary(&self, operator: Binary, left: &Tree, right: &Tree) -> Result<Operand, ExprError> {
        let (left, right) = (self.number(left)?, self.number(right)?);
        let int = Scalar::integer(4, true);
        let (left_box, right_box) = (Box::new(left.node), Box::new(right.node));
        match operator {
            Binary::And => return Ok(self.computed(Node::And(left_box, right_box), int)),
            Binary::Or => return Ok(self.computed(Node::Or(left_box, right_box), int)),
            _ => {}
        }
        let pointees = (self.pointee(&left.type_ref)?, self.pointee(&right.type_ref)?);
        let is_comparison = matches!(
            operator,
            Binary::Less
                | Binary::LessOrEqual
                | Binary::Greater
                | Binary::GreaterOrEqual
                | Binary::Equal
                | Binary::NotEqual
        );
        if !is_comparison && pointees != (None, None) {
            let left = Number { node: *left_box, ..left };
            let right = Number { node: *right_box, ..right };
            return self.pointer_arithmetic(operator, left, right, pointees);
        }
        let is_shift = matches!(operator, Binary::ShiftLeft | Binary::ShiftRight);
        let kind = match (is_shift, &pointees) {
            (true, _) => left.kind.promoted(),
            (false, (None, None)) => left.kind.common(right.kind),
            (false, _) => self.address_kind(),
        };
        let left = Box::new(Node::Convert(left_box, kind));
        let right = if is_shift { right_box } else { Box::new(Node::Convert(right_box, kind)) };
        let node = Node::Compute(operator, left, right, kind);
        Ok(self.computed(node, if is_comparison { int } else { kind }))
    }

    fn pointer_arithmetic(
        &self,
        operator: Binary,
        left: Number,
        right: Number,
        pointees: (Option<TypeRef>, Option<TypeRef>),
    ) -> Result<Operand, ExprError> {
        let (left_box, right_box) = (Box::new(left.node), Box::new(right.node));
        let (node, type_ref) = match (operator, pointees) {
            (Binary::Add, (Some(target), None)) => {
                let moved = self.scaled(*right_box, self.types().size_bytes(&target)?);
                (self.sum(left_box, Box::new(moved)), left.type_ref)
            }
            (Binary::Add, (None, Some(target))) => {
                let moved = self.scaled(*left_box, self.types().size_bytes(&target)?);
                (self.sum(right_box, Box::new(moved)), right.type_ref)
            }
            (Binary::Subtract, (Some(target), None)) => {
                let moved = self.scaled(*right_box, self.types().size_bytes(&target)?);
                let kind = self.address_kind();
                (Node::Compute(Binary::Subtract, left_box, Box::new(moved), kind), left.type_ref)
            }
            (Binary::Subtract, (Some(target), Some(_))) => {
                let kind = Scalar::integer(self.model().pointer_bytes, true);
                let size = Box::new(Node::Constant(self.types().size_bytes(&target)?));
                let distance = Node::Compute(Binary::Subtract, left_box, right_box, kind);
                let node = Node::Compute(Binary::Divide, Box::new(distance), size, kind);
                (node, self.arithmetic(kind))
            }
            // Kernels keep flags in the low bits of pointers; C would ask for casts first.
            (Binary::BitAnd | Binary::BitOr | Binary::BitXor | Binary::Remainder, _) => {
                let kind = self.address_kind();
                (Node::Compute(operator, left_box, right_box, kind), self.arithmetic(kind))
            }
            _ => return refuse("that cannot be done to a pointer".to_owned()),
        };
        Ok(Operand { content: Content::Number(node), type_ref })
    }

    fn conditional(&self, condition: &Tree, yes: &Tree, no: &Tree) -> Result<Operand, ExprError> {
        let condition = Box::new(self.number(condition)?.node);
        let (yes, no) = (self.number(yes)?, self.number(no)?);
        let pointer = match (self.pointee(&yes.type_ref)?, self.pointee(&no.type_ref)?) {
            (Some(_), _) => Some(yes.type_ref),
            (None, Some(_)) => Some(no.type_ref),
            (None, None) => None,
        };
        let kind = if pointer.is_some() { self.address_kind() } else { yes.kind.common(no.kind) };
        let convert = |node: Node| Box::new(Node::Convert(Box::new(node), kind));
        let node = Node::Conditional(condition, convert(yes.node), convert(no.node));
        let type_ref = pointer.unwrap_or_else(|| self.arithmetic(kind));
        Ok(Operand { content: Content::Number(node), type_ref })
    }

    fn cast(&self, name: &TypeName, inner: &Tree) -> Result<Operand, ExprError> {
        let type_ref = self.named(name)?;
        let operand = self.operand(inner)?;
        // What has no type is said to have this one, as in gdb.
        if let Content::Untyped(_, place) = operand.content {
            return Ok(Operand { content: Content::Place(place), type_ref });
        }
        let Some(kind) = Scalar::of(self.types(), &type_ref)? else {
            return refuse(format!(
                "a value cannot be cast to `{0}`; look at its memory as one: *({0} *)&value",
                self.types().name(&type_ref)
            ));
        };
        let number = self.number_of(operand)?;
        let node = Node::Convert(Box::new(number.node), kind);
        Ok(Operand { content: Content::Number(node), type_ref })
    }

    /// How far a part lies from the start of a type, and the part's type.
    fn path_offset(&self, of: &TypeRef, path: &[Designator]) -> Result<(Node, TypeRef), ExprError> {
        let (mut offset, mut at) = (Node::Constant(0), of.clone());
        for step in path {
            let part = match step {
                Designator::Member(name) => {
                    let found = self.types().member(&at, name)?;
                    let found = found.ok_or_else(|| self.no_member(&at, name))?;
                    if found.width_bits.is_some() {
                        return refuse("a bit-field has no offset in bytes".to_owned());
                    }
                    at = found.type_ref;
                    Node::Constant(found.offset_bits / 8)
                }
                Designator::Index(index) => {
                    let (_, array) = self.types().resolve(&at)?;
                    let Shape::Array { element, .. } = &array.shape else {
                        return refuse(format!("a `{}` has no elements", self.types().name(&at)));
                    };
                    at = element.clone();
                    self.scaled(self.number(index)?.node, self.types().size_bytes(&at)?)
                }
            };
            offset = match (offset, part) {
                (Node::Constant(left), Node::Constant(right)) => Node::Constant(left.wrapping_add(right)),
                (left, right) => self.sum(Box::new(left), Box::new(right)),
            };
        }
        Ok((offset, at))
    }

    fn container_of(&self, pointer: &Tree, of: &TypeName, path: &[Designator]) -> Result<Operand, ExprError> {
        let of = self.named(of)?;
        let pointer = Box::new(self.number(pointer)?.node);
        let offset = Box::new(self.path_offset(&of, path)?.0);
        let node = Node::Compute(Binary::Subtract, pointer, offset, self.address_kind());
        Ok(Operand { content: Content::Number(node), type_ref: self.model().pointer_to(of) })
    }

    fn repeat(&self, first: &Tree, count: &Tree) -> Result<Operand, ExprError> {
        let operand = self.operand(first)?;
        let Content::Place(place) = operand.content else {
            return refuse("`@` needs the first element of an array in memory before it".to_owned());
        };
        let Node::Constant(count) = self.number(count)?.node else {
            return refuse("the count behind `@` must be a number".to_owned());
        };
        let shape = Shape::Array { element: operand.type_ref, count: Some(count) };
        let type_ref = TypeRef::Made(Arc::new(Type { name: None, size_bytes: None, shape }));
        Ok(Operand { content: Content::Place(place), type_ref })
    }
}
