"""The protocol: an editor's requests to functions of a `Document`, and back. Started by ``declarative lsp``.

Reference: Language Server Protocol 3.17, https://microsoft.github.io/language-server-protocol.
"""

from __future__ import annotations

import os
import sys

from lsprotocol import types
from pygls.exceptions import JsonRpcInvalidParams
from pygls.lsp.server import LanguageServer

from declarative import __version__
from declarative.diagnostics.diagnostic import DiagnosticError
from declarative.diagnostics.span import Source
from declarative.frontend.format import format_text
from declarative.lsp import answers
from declarative.lsp.completion import complete
from declarative.lsp.document import Document
from declarative.lsp.fixes import fixes
from declarative.lsp.hover import hover
from declarative.lsp.positions import Positions
from declarative.lsp.rename import RenameError, renamable, rename
from declarative.lsp.signature import signature_at
from declarative.lsp.symbols import symbols


class Server(LanguageServer):
    """The server with the programs that are open, read anew when their text changes."""

    def __init__(self) -> None:
        super().__init__("declarative", __version__)
        self.read: dict[str, Document] = {}

    def document(self, uri: str) -> tuple[Document, Positions]:
        """A program that is open, and the positions in it as the client counts them."""
        text = self.workspace.get_text_document(uri)
        document = self.read.get(uri)
        if document is None or document.source.text != text.source:
            document = self.read[uri] = Document(Source(text.path, text.source))
        return document, Positions(document.source, text.position_codec.client_num_units)

    def publish(self, uri: str) -> None:
        """Tell the client everything that is wrong with a program."""
        document, positions = self.document(uri)
        found = [answers.diagnostic(d, uri, positions) for d in document.diagnostics]
        version = self.workspace.get_text_document(uri).version
        self.text_document_publish_diagnostics(types.PublishDiagnosticsParams(uri, found, version))


def did_open(ls: Server, params: types.DidOpenTextDocumentParams) -> None:
    ls.publish(params.text_document.uri)


def did_change(ls: Server, params: types.DidChangeTextDocumentParams) -> None:
    ls.publish(params.text_document.uri)


def did_close(ls: Server, params: types.DidCloseTextDocumentParams) -> None:
    uri = params.text_document.uri
    ls.read.pop(uri, None)
    ls.text_document_publish_diagnostics(types.PublishDiagnosticsParams(uri, []))


def on_hover(ls: Server, params: types.HoverParams) -> types.Hover | None:
    document, positions = ls.document(params.text_document.uri)
    found = hover(document, positions.offset(params.position))
    return None if found is None else types.Hover(answers.markdown(found.text), positions.range(found.span))


def on_completion(ls: Server, params: types.CompletionParams) -> list[types.CompletionItem]:
    document, positions = ls.document(params.text_document.uri)
    found = complete(document, positions.offset(params.position))
    return [answers.completion(item, ls.client_capabilities) for item in found]


def on_signature_help(ls: Server, params: types.SignatureHelpParams) -> types.SignatureHelp | None:
    document, positions = ls.document(params.text_document.uri)
    found = signature_at(document, positions.offset(params.position))
    return None if found is None else answers.signature_help(found)


def on_definition(ls: Server, params: types.DefinitionParams) -> types.Location | None:
    document, positions = ls.document(params.text_document.uri)
    occurrence = document.at(positions.offset(params.position))
    declaration = None if occurrence is None else document.declaration(occurrence)
    if declaration is None:
        return None
    return types.Location(params.text_document.uri, positions.range(declaration.span))


def on_references(ls: Server, params: types.ReferenceParams) -> list[types.Location]:
    document, positions = ls.document(params.text_document.uri)
    occurrence = document.at(positions.offset(params.position))
    found = [] if occurrence is None else document.same(occurrence)
    kept = [o for o in found if params.context.include_declaration or not o.declares]
    return [types.Location(params.text_document.uri, positions.range(o.span)) for o in kept]


def on_prepare_rename(ls: Server, params: types.PrepareRenameParams) -> types.Range | None:
    document, positions = ls.document(params.text_document.uri)
    try:
        return positions.range(renamable(document, positions.offset(params.position)).span)
    except RenameError:
        return None


def on_rename(ls: Server, params: types.RenameParams) -> types.WorkspaceEdit:
    document, positions = ls.document(params.text_document.uri)
    try:
        spans = rename(document, positions.offset(params.position), params.new_name)
    except RenameError as error:
        raise JsonRpcInvalidParams(str(error)) from None
    edits = [types.TextEdit(positions.range(span), params.new_name) for span in spans]
    return types.WorkspaceEdit({params.text_document.uri: edits})


def on_formatting(ls: Server, params: types.DocumentFormattingParams) -> list[types.TextEdit] | None:
    """The whole text anew; a broken program stays, its errors are told already."""
    document, positions = ls.document(params.text_document.uri)
    try:
        formatted = format_text(document.source.text, document.source.name)
    except DiagnosticError:
        return None
    return [] if formatted == document.source.text else [types.TextEdit(positions.whole(), formatted)]


def on_document_symbol(ls: Server, params: types.DocumentSymbolParams) -> list[types.DocumentSymbol]:
    document, positions = ls.document(params.text_document.uri)
    return answers.outline(list(symbols(document)), positions)


def on_code_action(ls: Server, params: types.CodeActionParams) -> list[types.CodeAction]:
    """Quick fixes of the diagnostics that touch the range."""
    uri = params.text_document.uri
    document, positions = ls.document(uri)
    first, last = positions.offset(params.range.start), positions.offset(params.range.end)
    actions = []
    for diagnostic in document.diagnostics:
        label = diagnostic.primary
        if label is not None and label.span.start <= last and first <= label.span.end:
            about = answers.diagnostic(diagnostic, uri, positions)
            actions += [answers.action(fix, about, uri, positions) for fix in fixes(document, diagnostic)]
    return actions


def make_server() -> Server:
    """A server that knows all requests."""
    server = Server()
    triggers = types.CompletionOptions(trigger_characters=["[", "(", "."])
    server.feature(types.TEXT_DOCUMENT_DID_OPEN)(did_open)
    server.feature(types.TEXT_DOCUMENT_DID_CHANGE)(did_change)
    server.feature(types.TEXT_DOCUMENT_DID_CLOSE)(did_close)
    server.feature(types.TEXT_DOCUMENT_HOVER)(on_hover)
    server.feature(types.TEXT_DOCUMENT_COMPLETION, triggers)(on_completion)
    calls = types.SignatureHelpOptions(trigger_characters=["(", ","])
    server.feature(types.TEXT_DOCUMENT_SIGNATURE_HELP, calls)(on_signature_help)
    server.feature(types.TEXT_DOCUMENT_DEFINITION)(on_definition)
    server.feature(types.TEXT_DOCUMENT_REFERENCES)(on_references)
    server.feature(types.TEXT_DOCUMENT_PREPARE_RENAME)(on_prepare_rename)
    server.feature(types.TEXT_DOCUMENT_RENAME, types.RenameOptions(prepare_provider=True))(on_rename)
    server.feature(types.TEXT_DOCUMENT_FORMATTING)(on_formatting)
    server.feature(types.TEXT_DOCUMENT_DOCUMENT_SYMBOL)(on_document_symbol)
    quick = types.CodeActionOptions(code_action_kinds=[types.CodeActionKind.QuickFix])
    server.feature(types.TEXT_DOCUMENT_CODE_ACTION, quick)(on_code_action)
    return server


def serve() -> None:
    """Serve one editor on stdin and stdout until it says goodbye."""
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as channel:
        # The protocol has this channel alone: what anything else prints goes to stderr.
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        make_server().start_io(stdout=channel)
