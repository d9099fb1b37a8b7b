// Starts `declarative lsp` for .opt files. Plain JavaScript: nothing is built.

const vscode = require("vscode");

let client;

async function start() {
  let LanguageClient;
  try {
    ({ LanguageClient } = require("vscode-languageclient/node"));
  } catch {
    vscode.window.showWarningMessage(
      "declarative: colours only. For the language server run `npm install` in the extension's folder."
    );
    return;
  }
  const [command, ...args] = vscode.workspace.getConfiguration("declarative").get("command");
  client = new LanguageClient(
    "declarative",
    "declarative",
    { command, args },
    { documentSelector: [{ language: "opt" }] }
  );
  try {
    await client.start();
  } catch (error) {
    client = undefined;
    const words = `\`${[command, ...args].join(" ")}\` did not start (${error.message}).`;
    vscode.window.showErrorMessage(
      `declarative: ${words} Install it in its repository with pip install -e ".[lsp]", or set declarative.command.`
    );
  }
}

async function stop() {
  const running = client;
  client = undefined;
  if (running) await running.stop();
}

async function activate(context) {
  const restart = vscode.commands.registerCommand("declarative.restart", () => stop().then(start));
  context.subscriptions.push(restart);
  await start();
}

module.exports = { activate, deactivate: stop };
