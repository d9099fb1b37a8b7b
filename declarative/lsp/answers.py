"""What was found, in the types of the protocol."""

from __future__ import annotations

from collections.abc import Sequence

from lsprotocol import types

from declarative.diagnostics.diagnostic import Diagnostic
from declarative.lsp.completion import Completion
from declarative.lsp.positions import Positions
from declarative.lsp.proposals import Fix
from declarative.lsp.signature import Signature
from declarative.lsp.symbols import Symbol

COMPLETION_KINDS = {
    "keyword": types.CompletionItemKind.Keyword,
    "function": types.CompletionItemKind.Function,
    "dim": types.CompletionItemKind.Unit,
    "param": types.CompletionItemKind.Field,
    "var": types.CompletionItemKind.Variable,
    "let": types.CompletionItemKind.Constant,
    "extern": types.CompletionItemKind.Module,
    "index": types.CompletionItemKind.Variable,
    "constraint": types.CompletionItemKind.Property,
    "attribute": types.CompletionItemKind.Keyword,
    "option": types.CompletionItemKind.Property,
}

SYMBOL_KINDS = {
    "layer": types.SymbolKind.Class,
    "dim": types.SymbolKind.Number,
    "param": types.SymbolKind.Field,
    "var": types.SymbolKind.Variable,
    "let": types.SymbolKind.Constant,
    "extern": types.SymbolKind.Module,
    "objective": types.SymbolKind.Function,
    "constraint": types.SymbolKind.Property,
    "output": types.SymbolKind.Interface,
}

SEVERITIES = {"error": types.DiagnosticSeverity.Error, "warning": types.DiagnosticSeverity.Warning}


def markdown(text: str) -> types.MarkupContent:
    return types.MarkupContent(types.MarkupKind.Markdown, text)


def diagnostic(found: Diagnostic, uri: str, positions: Positions) -> types.Diagnostic:
    """The message with the label's words, notes and help below; other labels as related places."""
    lines = [found.message]
    if found.primary is not None and found.primary.text:
        lines[0] += f" ({found.primary.text})"
    lines += [f"note: {note}" for note in found.notes]
    lines += [f"help: {found.help}"] if found.help else []
    start = types.Position(0, 0)
    return types.Diagnostic(
        range=types.Range(start, start) if found.primary is None else positions.range(found.primary.span),
        message="\n".join(lines),
        severity=SEVERITIES[found.severity],
        code=found.code,
        source="declarative",
        related_information=[
            types.DiagnosticRelatedInformation(types.Location(uri, positions.range(label.span)), label.text or "here")
            for label in found.secondary
        ],
        tags=[types.DiagnosticTag.Unnecessary] if found.code == "W201" else None,
    )


def completion(item: Completion, client: types.ClientCapabilities) -> types.CompletionItem:
    """A function is inserted with its parentheses, the cursor between them, where the client can place it."""
    text = client.text_document
    offered = text.completion.completion_item if text is not None and text.completion is not None else None
    snippet = item.call and offered is not None and bool(offered.snippet_support)
    return types.CompletionItem(
        label=item.label,
        kind=COMPLETION_KINDS[item.kind],
        detail=item.detail or None,
        documentation=markdown(item.documentation) if item.documentation else None,
        insert_text=f"{item.label}($0)" if snippet else item.label,
        insert_text_format=types.InsertTextFormat.Snippet if snippet else types.InsertTextFormat.PlainText,
    )


def signature_help(found: Signature) -> types.SignatureHelp:
    information = types.SignatureInformation(
        label=found.label,
        documentation=markdown(found.documentation) if found.documentation else None,
        parameters=[types.ParameterInformation(place) for place in found.parameters],
    )
    return types.SignatureHelp([information], active_signature=0, active_parameter=found.active)


def outline(found: Sequence[Symbol], positions: Positions) -> list[types.DocumentSymbol]:
    """The layer with everything else inside it."""
    made = [
        types.DocumentSymbol(
            symbol.name,
            SYMBOL_KINDS[symbol.kind],
            positions.range(symbol.span),
            positions.range(symbol.name_span),
            detail=symbol.detail or None,
        )
        for symbol in found
    ]
    if not found or found[0].kind != "layer":
        return made
    layer, *rest = made
    layer.range, layer.children = types.Range(layer.range.start, positions.whole().end), rest
    return [layer]


def action(fix: Fix, about: types.Diagnostic, uri: str, positions: Positions) -> types.CodeAction:
    edit = types.TextEdit(positions.range(fix.span), fix.text)
    return types.CodeAction(
        title=fix.title,
        kind=types.CodeActionKind.QuickFix,
        diagnostics=[about],
        is_preferred=fix.preferred or None,
        edit=types.WorkspaceEdit({uri: [edit]}),
    )
