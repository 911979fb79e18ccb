// xmpp_archive.mjs PORT HOST USER PASSWORD forth|back MAX
//
// Reads the account's archive with @xmpp/client, MAX messages a page, and prints `message ID BODY` for each.
import { webcrypto } from "node:crypto";
import { pathToFileURL } from "node:url";

const installed = (path) => import(pathToFileURL(`${process.env.NODE_PACKAGES}/${path}`));
const { client, xml } = await installed("@xmpp/client/index.js");
globalThis.crypto ??= webcrypto;

const [port, domain, username, password, direction, max] = process.argv.slice(2);
const MAM = "urn:xmpp:mam:2";
const RSM = "http://jabber.org/protocol/rsm";

const xmpp = client({
	service: `xmpp://127.0.0.1:${port}`,
	domain,
	username,
	credentials: (authenticate) => authenticate({ username, password }, "PLAIN"),
});
xmpp.reconnect.stop();
xmpp.on("error", (error) => {
	console.error(error);
	process.exit(1);
});

let results = [];
xmpp.on("stanza", (stanza) => {
	const result = stanza.getChild("result", MAM);
	if (result) results.push(result);
});

// Resolves to the page's <fin/>; its messages are in `results`.
async function page(...place) {
	results = [];
	const set = xml("set", RSM, xml("max", {}, max), ...place);
	const answer = await xmpp.iqCaller.request(xml("iq", { type: "set" }, xml("query", MAM, set)));
	return answer.getChild("fin", MAM);
}

await xmpp.start();
const [relation, end] = direction === "back" ? ["before", "first"] : ["after", "last"];
let place = direction === "back" ? [xml("before")] : [];
let fin;
do {
	fin = await page(...place);
	if (direction === "back") results.reverse();
	for (const result of results) {
		const message = result.getChild("forwarded").getChild("message");
		console.log(`message ${result.attrs.id} ${message.getChildText("body")}`);
	}
	const last = fin.getChild("set", RSM).getChildText(end);
	place = [xml(relation, {}, last ?? "")];
} while (fin.attrs.complete !== "true");
process.exit();
