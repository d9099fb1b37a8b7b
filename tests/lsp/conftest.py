"""An editor: a client that starts the server as editors do and speaks to it over stdio."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Iterator
from typing import Any

import pytest
from lsprotocol import types
from pygls.lsp.client import LanguageClient

TIMEOUT = 60.0


class Editor:
    """One session with a server."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.client = LanguageClient("test-editor", "1")
        self.published: dict[str, types.PublishDiagnosticsParams] = {}
        self.versions: dict[str, int] = {}

        @self.client.feature(types.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)
        def on_diagnostics(params: types.PublishDiagnosticsParams) -> None:
            self.published[params.uri] = params

    def wait(self, awaitable: Awaitable[Any]) -> Any:
        return self.loop.run_until_complete(asyncio.wait_for(awaitable, TIMEOUT))

    def start(self) -> types.InitializeResult:
        self.wait(self.client.start_io(sys.executable, "-m", "declarative", "lsp"))
        item = types.ClientCompletionItemOptions(snippet_support=True)
        completion = types.CompletionClientCapabilities(completion_item=item)
        capabilities = types.ClientCapabilities(
            text_document=types.TextDocumentClientCapabilities(completion=completion)
        )
        started = self.wait(self.client.initialize_async(types.InitializeParams(capabilities=capabilities)))
        self.client.initialized(types.InitializedParams())
        return started

    def stop(self) -> int:
        """Shut the server down; returns its exit code."""
        self.wait(self.client.shutdown_async(None))
        self.client.exit(None)
        server = self.client._server
        assert server is not None
        code: int = self.wait(server.wait())
        self.wait(self.client.stop())
        self.loop.close()
        return code

    def open(self, text: str, uri: str = "file:///test.opt") -> Program:
        self.versions[uri] = self.versions.get(uri, 0) + 1
        document = types.TextDocumentItem(uri, "opt", self.versions[uri], text)
        self.client.text_document_did_open(types.DidOpenTextDocumentParams(document))
        return Program(self, uri, text)

    def diagnostics(self, uri: str) -> list[types.Diagnostic]:
        """What the server says of the text's newest version."""

        async def newest() -> list[types.Diagnostic]:
            while uri not in self.published or self.published[uri].version != self.versions[uri]:
                await asyncio.sleep(0.005)
            return list(self.published[uri].diagnostics)

        found: list[types.Diagnostic] = self.wait(newest())
        return found


class Program:
    """A text that is open in the editor. A place in it is given as text with a ``|``, the cursor."""

    def __init__(self, editor: Editor, uri: str, text: str) -> None:
        self.editor, self.uri, self.text = editor, uri, text
        self.id = types.TextDocumentIdentifier(uri)

    def position(self, marked: str) -> types.Position:
        before, after = marked.split("|")
        assert self.text.count(before + after) == 1, "the place must be unique"
        offset = self.text.index(before + after) + len(before)
        lines = self.text[:offset].split("\n")
        return types.Position(len(lines) - 1, len(lines[-1].encode("utf-16-le")) // 2)

    def text_of(self, range_: types.Range) -> str:
        return self.text[self._offset(range_.start) : self._offset(range_.end)]

    def _offset(self, position: types.Position) -> int:
        lines = self.text.split("\n")
        before = lines[position.line].encode("utf-16-le")[: 2 * position.character].decode("utf-16-le")
        return sum(len(line) + 1 for line in lines[: position.line]) + len(before)

    def edit(self, old: str, new: str) -> None:
        """Replace a stretch of text, as typing does."""
        assert self.text.count(old) == 1
        start = self.text.index(old)
        first, last = self.position(self.text[:start] + "|" + self.text[start:]), None
        last = self.position(self.text[: start + len(old)] + "|" + self.text[start + len(old) :])
        self.editor.versions[self.uri] += 1
        change = types.TextDocumentContentChangePartial(types.Range(first, last), new)
        identifier = types.VersionedTextDocumentIdentifier(self.editor.versions[self.uri], self.uri)
        self.editor.client.text_document_did_change(types.DidChangeTextDocumentParams(identifier, [change]))
        self.text = self.text.replace(old, new)

    def applied(self, edits: list[types.TextEdit]) -> str:
        """The text after edits of the server, which refer to the text before all of them."""
        text = self.text
        for edit in sorted(edits, key=lambda e: self._offset(e.range.start), reverse=True):
            start, end = self._offset(edit.range.start), self._offset(edit.range.end)
            text = text[:start] + edit.new_text + text[end:]
        return text

    def diagnostics(self) -> list[types.Diagnostic]:
        return self.editor.diagnostics(self.uri)

    def hover(self, marked: str) -> str | None:
        params = types.HoverParams(self.id, self.position(marked))
        found = self.editor.wait(self.editor.client.text_document_hover_async(params))
        return None if found is None else found.contents.value

    def complete(self, marked: str) -> dict[str, types.CompletionItem]:
        params = types.CompletionParams(self.id, self.position(marked))
        found = self.editor.wait(self.editor.client.text_document_completion_async(params))
        return {item.label: item for item in found}

    def signature(self, marked: str) -> tuple[str, str] | None:
        """The signature shown and the argument that is marked in it."""
        params = types.SignatureHelpParams(self.id, self.position(marked))
        found = self.editor.wait(self.editor.client.text_document_signature_help_async(params))
        if found is None:
            return None
        (shown,) = found.signatures
        places = [parameter.label for parameter in shown.parameters]
        active = found.active_parameter
        return shown.label, shown.label[slice(*places[active])] if active < len(places) else ""

    def definition(self, marked: str) -> types.Location | None:
        params = types.DefinitionParams(self.id, self.position(marked))
        return self.editor.wait(self.editor.client.text_document_definition_async(params))

    def references(self, marked: str) -> list[types.Location]:
        context = types.ReferenceContext(include_declaration=True)
        params = types.ReferenceParams(context, self.id, self.position(marked))
        return self.editor.wait(self.editor.client.text_document_references_async(params))

    def rename(self, marked: str, name: str) -> str:
        """The text after renaming."""
        params = types.RenameParams(self.id, self.position(marked), name)
        edit = self.editor.wait(self.editor.client.text_document_rename_async(params))
        return self.applied(edit.changes[self.uri])

    def prepare_rename(self, marked: str) -> types.Range | None:
        params = types.PrepareRenameParams(self.id, self.position(marked))
        return self.editor.wait(self.editor.client.text_document_prepare_rename_async(params))

    def format(self) -> list[types.TextEdit] | None:
        options = types.FormattingOptions(tab_size=2, insert_spaces=True)
        params = types.DocumentFormattingParams(self.id, options)
        return self.editor.wait(self.editor.client.text_document_formatting_async(params))

    def symbols(self) -> list[types.DocumentSymbol]:
        params = types.DocumentSymbolParams(self.id)
        return self.editor.wait(self.editor.client.text_document_document_symbol_async(params))

    def actions(self, diagnostic: types.Diagnostic) -> dict[str, str]:
        """Title of each quick fix, and the text after it."""
        context = types.CodeActionContext([diagnostic])
        params = types.CodeActionParams(self.id, diagnostic.range, context)
        found = self.editor.wait(self.editor.client.text_document_code_action_async(params))
        return {action.title: self.applied(action.edit.changes[self.uri]) for action in found}


@pytest.fixture(scope="session")
def editor() -> Iterator[Editor]:
    editor = Editor()
    editor.start()
    yield editor
    assert editor.stop() == 0
