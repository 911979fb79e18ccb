// xmpp_archive.mjs PORT HOST USER PASSWORD MAX
//
// Reads the account's archive with @xmpp/client, MAX messages a page, from its beginning and then from its end.
// Prints `forth ID BODY` and `back ID BODY` for each message.
import { webcrypto } from "node:crypto";
import { pathToFileURL } from "node:url";

const installed = (path) => import(pathToFileURL(`${process.env.NODE_PACKAGES}/${path}`));
const { client, xml } = await installed("@xmpp/client/index.js");
globalThis.crypto ??= webcrypto;

const [port, domain, username, password, max] = process.argv.slice(2);
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

async function read(direction, relation, end, ...place) {
	let fin;
	do {
		fin = await page(...place);
		if (direction === "back") results.reverse();
		for (const result of results) {
			const message = result.getChild("forwarded").getChild("message");
			console.log(`${direction} ${result.attrs.id} ${message.getChildText("body")}`);
		}
		place = [xml(relation, {}, fin.getChild("set", RSM).getChildText(end))];
	} while (fin.attrs.complete !== "true");
}

// Whatever arrives before stream management is on is counted by the library, and not by the server
const counting = new Promise((resolve) => {
	xmpp.on("nonza", (element) => element.is("enabled", "urn:xmpp:sm:3") && setImmediate(resolve));
});
await xmpp.start();
await counting;
await read("forth", "after", "last");
await read("back", "before", "first", xml("before"));
process.exit();
