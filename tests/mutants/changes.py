"""Small changes of a Python source, each as one would slip in by carelessness.

`changes(source)` yields them in the order of the file. They keep the text as it is but for the
place they change, so that a line number in a failure is that of the real file.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

#: Nothing inside a call of these is changed: what is said to people is tested elsewhere.
SILENT = {"logger", "_", "gettext", "gettext_lazy", "pgettext", "pgettext_lazy", "ngettext"}
SILENT |= {"ValidationError", "BrokerAway", "ClockError", "AssertionError", "TypeVar", "ParamSpec"}
SILENT |= {"cast", "lru_cache", "_veto", "isinstance", "issubclass"}

#: Decorators without which a module is only slower, or does not even import.
KEPT_DECORATORS = {"dataclass", "property", "classmethod", "staticmethod", "cache", "lru_cache"}
KEPT_DECORATORS |= {"wraps", "register", "action", "display", "cached_property", "contextmanager"}

#: Methods of a chain that narrow or order what it is about.
NARROWING = {"filter", "exclude", "order_by", "distinct", "unstarted", "waiting", "of_schedule"}
NARROWING |= {"not_stopped", "untouched", "evaluated", "active", "ended", "begun", "publishable"}

COMPARED: dict[type[ast.cmpop], str] = {
    ast.Lt: "<=",
    ast.LtE: "<",
    ast.Gt: ">=",
    ast.GtE: ">",
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.Is: "is not",
    ast.IsNot: "is",
    ast.In: "not in",
    ast.NotIn: "in",
}
COMPUTED: dict[type[ast.operator], str] = {
    ast.Add: "-",
    ast.Sub: "+",
    ast.Mult: "+",
    ast.FloorDiv: "*",
    ast.Div: "*",
    ast.Mod: "+",
    ast.BitAnd: "|",
    ast.BitOr: "&",
}
SWAPPED = {"min": "max", "max": "min", "any": "all", "all": "any", "first": "last"}


@dataclass(frozen=True)
class Change:
    """One change: `text` stands for the bytes from `start` to `end` of the source."""

    where: str  # the qualified name of the function or class, or "module"
    line: int
    start: int
    end: int
    text: str
    before: str
    after: str

    @property
    def name(self) -> str:
        """Says what was changed, also after lines above have moved."""
        return f"{self.where}: {self.before} -> {self.after}"

    def apply(self, source: str) -> str:
        data = source.encode()
        return (data[: self.start] + self.text.encode() + data[self.end :]).decode()


def changes(source: str) -> list[Change]:
    """Every change of the source, each once. A few do not compile: see `compiles`."""
    found: dict[tuple[int, int, str], Change] = {}
    for change in _Finder(source).walk(ast.parse(source), "module"):
        found.setdefault((change.start, change.end, change.text), change)
    return list(found.values())


def compiles(source: str) -> bool:
    """Whether a mutant is a program at all."""
    try:
        compile(source, "mutant", "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return False
    return True


class _Finder:
    def __init__(self, source: str) -> None:
        self.data = source.encode()
        lengths = [len(line) for line in self.data.splitlines(keepends=True)]
        self.starts = [sum(lengths[:n]) for n in range(len(lengths) + 1)]

    # Places ---------------------------------------------------------------------------------------

    def span(self, node: ast.AST) -> tuple[int, int]:
        first = self.starts[node.lineno - 1] + node.col_offset  # type: ignore[attr-defined]
        last = self.starts[node.end_lineno - 1] + node.end_col_offset  # type: ignore[attr-defined]
        return first, last

    def text(self, node: ast.AST) -> str:
        start, end = self.span(node)
        return self.data[start:end].decode()

    def change(
        self, where: str, node: ast.AST, start: int, end: int, text: str, of: ast.AST | None = None
    ) -> Change:
        """`of`: the node that is shown before and after, if the place alone says too little."""
        first, last = self.span(of or node)
        first, last = min(first, start), max(last, end)
        before = self.data[first:last].decode()
        after = (self.data[first:start] + text.encode() + self.data[end:last]).decode()
        line = self.data.count(b"\n", 0, start) + 1
        return Change(where, line, start, end, text, _short(before), _short(after) or "nothing")

    def whole(self, where: str, node: ast.AST, text: str, of: ast.AST | None = None) -> Change:
        return self.change(where, node, *self.span(node), text, of)

    # Walking --------------------------------------------------------------------------------------

    def walk(self, node: ast.AST, where: str) -> Iterator[Change]:
        if _is_silent(node):
            return
        match node:
            case ast.FunctionDef() | ast.ClassDef() | ast.AsyncFunctionDef():
                yield from self.decorators(node, where)
                where = node.name if where == "module" else f"{where}.{node.name}"
        yield from self.here(node, where)
        for child in _children(node):
            yield from self.walk(child, where)

    def here(self, node: ast.AST, where: str) -> Iterator[Change]:
        match node:
            case ast.Compare():
                yield from self.compared(node, where)
            case ast.BoolOp(values=values, op=op):
                word = "or" if isinstance(op, ast.And) else "and"
                for left, right in pairwise(values):
                    yield from self.between(node, left, right, word, where)
            case ast.UnaryOp(op=ast.Not() | ast.Invert(), operand=operand):
                yield self.whole(where, node, f"({self.text(operand)})")
            case ast.BinOp(left=left, right=right, op=op) if type(op) in COMPUTED:
                yield from self.between(node, left, right, COMPUTED[type(op)], where)
            case ast.Constant(value=bool() as value):
                yield self.whole(where, node, str(not value))
            case ast.Constant(value=int() | float() as value):
                yield self.whole(where, node, str(value + 1))
            case ast.Call():
                yield from self.called(node, where)
            case ast.Tuple(elts=items) | ast.Set(elts=items) | ast.List(elts=items) if len(
                items
            ) > 1 and isinstance(getattr(node, "ctx", ast.Load()), ast.Load):
                yield from self.without_each(node, items, where)
            case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test):
                yield self.whole(where, test, f"(not ({self.text(test)}))", of=test)
            case ast.With(items=[ast.withitem(optional_vars=None) as item], body=[first, *_]):
                start, end = self.span(node)[0], self.span(item.context_expr)[1]
                if first.lineno > node.lineno:
                    yield self.change(where, item.context_expr, start, end, "if True")
            case ast.ExceptHandler(body=[first, *_]) if not isinstance(first, ast.Raise):
                begin = self.span(first)[0]
                yield self.change(where, first, begin, begin, "raise; ")
            case ast.Expr(value=ast.Call() | ast.Yield() | ast.YieldFrom()) | ast.Raise():
                yield self.whole(where, node, "pass")
            case ast.AugAssign() | ast.Continue() | ast.Break() | ast.Delete():
                yield self.whole(where, node, "pass")
            case ast.Assign(targets=[ast.Attribute() | ast.Subscript() | ast.Tuple()]):
                yield self.whole(where, node, "pass")
            case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
                yield self.whole(where, value, "None", of=node)

    def decorators(self, node: ast.FunctionDef | ast.ClassDef, where: str) -> Iterator[Change]:  # type: ignore[override]
        for decorator in node.decorator_list:
            name = decorator.func if isinstance(decorator, ast.Call) else decorator
            if not set(ast.unparse(name).split(".")) & KEPT_DECORATORS:
                start, end = self.span(decorator)
                yield self.change(f"{node.name}", decorator, start - 1, end, "")

    # Kinds ----------------------------------------------------------------------------------------

    def compared(self, node: ast.Compare, where: str) -> Iterator[Change]:
        sides = [node.left, *node.comparators]
        for left, right, op in zip(sides, sides[1:], node.ops, strict=False):
            yield from self.between(node, left, right, COMPARED[type(op)], where)

    def between(
        self, node: ast.AST, left: ast.AST, right: ast.AST, word: str, where: str
    ) -> Iterator[Change]:
        """Another operator between two operands; brackets around them stay."""
        start, end = self.span(left)[1], self.span(right)[0]
        kept = self.data[start:end].decode()
        if "#" in kept:
            return
        opening = len(kept) - len(kept.rstrip("( \n\t"))
        closing = len(kept) - len(kept.lstrip(") \n\t"))
        left_over, right_over = kept[:closing].strip(" "), kept[len(kept) - opening :].strip(" ")
        inner = f"{left_over} {word} {right_over}"
        yield self.change(where, node, start, end, inner, of=node)

    def called(self, node: ast.Call, where: str) -> Iterator[Change]:
        function = node.func
        name = function.attr if isinstance(function, ast.Attribute) else ast.unparse(function)
        if name in SWAPPED:
            start = self.span(function)[1] - len(name)
            yield self.change(where, node, start, start + len(name), SWAPPED[name], of=function)
        if name == "locked":
            yield self.whole(where, node, self.text(node.args[0]))
        if name == "on_commit":
            yield self.whole(where, node, f"({self.text(node.args[0])})()")
        if name in NARROWING and isinstance(function, ast.Attribute):
            end = self.span(node)[1]
            yield self.change(where, node, self.span(function.value)[1], end, "", of=node)
        arguments = [*node.args, *(item for item in node.keywords)]
        if len(arguments) > 1 or node.keywords:
            dropped = [item for item in arguments if not isinstance(item, ast.expr)]
            if name in NARROWING or name in ("Q", "When"):
                dropped = list(arguments)
            for item in dropped:
                if getattr(item, "arg", None) not in ("extra", "exc_info", "output_field"):
                    yield self.without(node, item, where)

    def without_each(self, node: ast.AST, items: list[ast.expr], where: str) -> Iterator[Change]:
        if not all(isinstance(item, ast.Constant) and item.value == "" for item in items):
            for item in items:
                yield self.without(node, item, where)

    def without(self, node: ast.AST, item: ast.AST, where: str) -> Change:
        """The item of a list of arguments or elements away, with the comma behind it."""
        start, end = self.span(item)
        if isinstance(item, ast.keyword) and item.arg is None:
            start = self.data.rindex(b"**", 0, start + 2)
        rest = self.data[end : self.span(node)[1]]
        space = len(rest) - len(rest.lstrip())
        if rest[space : space + 1] == b",":
            end += space + 1
        change = self.change(where, item, start, end, "")
        return Change(
            where, change.line, start, end, "", _short(self.text(node)), f"no {change.before}"
        )


def _children(node: ast.AST) -> Iterator[ast.AST]:
    """What may be changed below a node: no annotation, no docstring, no assertion."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "type_comment", "bases"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not isinstance(child, (ast.Assert, ast.Import)):
                yield child


def _is_silent(node: ast.AST) -> bool:
    match node:
        case ast.Expr(value=ast.Call() as call):
            return _is_silent(call)
        case ast.Call(func=function):
            return not SILENT.isdisjoint(ast.unparse(function).split(".")[:1])
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.Assign(targets=[ast.Name(id="__all__" | "logger"), *_]):
            return True
        case ast.FunctionDef(name="__str__" | "__repr__"):
            return True
        case ast.ClassDef(name="Meta"):
            return True
    return False


def _short(text: str) -> str:
    return " ".join(text.split())[:160]
