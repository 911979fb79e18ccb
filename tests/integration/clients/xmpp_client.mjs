// xmpp_client.mjs tcp|websocket PORT HOST USER PASSWORD     @xmpp/client; programs.py tells what it reads and prints
import { createInterface } from "node:readline";
import { webcrypto } from "node:crypto";
import { pathToFileURL } from "node:url";

const installed = (path) => import(pathToFileURL(`${process.env.NODE_PACKAGES}/${path}`));

const { client, xml } = await installed("@xmpp/client/index.js");
globalThis.WebSocket = (await installed("ws/wrapper.mjs")).WebSocket;
globalThis.crypto ??= webcrypto;

const [transport, port, domain, username, password] = process.argv.slice(2);
const service = transport === "websocket"
	? `ws://127.0.0.1:${port}/xmpp-websocket`
	: `xmpp://127.0.0.1:${port}`;

// SCRAM in JavaScript takes a second
const credentials = (authenticate) => authenticate({ username, password }, "PLAIN");
const xmpp = client({ service, domain, username, credentials });
const { reconnect, streamManagement } = xmpp;

function tell(...words) {
	process.stdout.write(`${words.join(" ")}\n`);
}

reconnect.stop(); // it would not wait for "connect"
streamManagement.requestAckDebounce = 10;
streamManagement.on("resumed", () => tell("resumed"));
streamManagement.on("ack", () => tell("acked", streamManagement.outbound));
xmpp.on("nonza", (element) => {
	// "online" is too early, and the library needs another turn to take note of this one
	if (element.is("enabled", "urn:xmpp:sm:3")) setImmediate(() => tell("bound", xmpp.jid));
});
xmpp.on("disconnect", () => tell("disconnected"));
xmpp.on("error", (error) => console.error(error));
xmpp.on("stanza", (stanza) => {
	if (stanza.is("message")) tell("received", stanza.getChildText("body"));
});

const commands = {
	connect: () => (xmpp.status === "offline" ? xmpp.start() : reconnect.reconnect()),
	send: (to, ...body) => {
		const sent = xmpp.send(xml("message", { to, type: "chat" }, xml("body", {}, body.join(" "))));
		return sent.then(() => tell("sent", ...body));
	},
};

createInterface({ input: process.stdin })
	.on("line", (line) => {
		const [command, ...words] = line.split(" ");
		commands[command](...words).catch((error) => console.error(error));
	})
	.on("close", () => process.exit());
