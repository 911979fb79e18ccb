// Chooses a room, a name and a transport, and starts Converse.js with them
import { parseRoom, requestedRoom } from "./address.js";
import { hideEntrance, showForm, showLost, tell } from "./form.js";
import { guestPlugin } from "./guest.js";
import { duplicateOf, forgetOthers, kept } from "./tab.js";

const PROBE_TIMEOUT = 5000; // milliseconds
const UNREACHABLE = "The chat cannot be reached at the moment.";

let config, room, defaultRoom, leave;

async function getConfig() {
	const answer = await fetch("config.json");
	if (!answer.ok) throw new Error(`config.json: ${answer.status}`);
	return answer.json();
}

function addStylesheet(href) {
	const link = document.createElement("link");
	link.rel = "stylesheet";
	link.href = href;
	return new Promise((resolve, reject) => {
		link.onload = resolve;
		link.onerror = () => reject(new Error(`${href} cannot be loaded`));
		document.head.append(link);
	});
}

// The absolute URL of a path relative to this page
function serviceUrl(path, websocket) {
	const url = new URL(path, location.href);
	url.hash = url.search = "";
	if (websocket) url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
	return url.href;
}

// Whether a WebSocket can be opened: some networks block them
function probe(url) {
	return new Promise((resolve) => {
		const socket = new WebSocket(url, "xmpp");
		const end = (works) => {
			clearTimeout(timer);
			socket.close();
			resolve(works);
		};
		const timer = setTimeout(end, PROBE_TIMEOUT, false);
		socket.onopen = () => end(true);
		socket.onerror = () => end(false);
	});
}

// Resolves to the settings of the connection; to undefined if the server cannot be reached
async function transport() {
	const websocket_url = serviceUrl(config.websocket, true);
	if (await probe(websocket_url)) return { websocket_url };
	const bosh_service_url = serviceUrl(config.bosh);
	const answer = await fetch(bosh_service_url).catch(() => undefined);
	return answer?.ok ? { bosh_service_url } : undefined;
}

// Whether the visitor gets a room of their own: the URL names no other room
function isOwnRoom() {
	return config.ownRoom && room === defaultRoom;
}

function show(notice, submit) {
	const elsewhere = room === defaultRoom ? undefined : defaultRoom;
	showForm({ title: config.title, room: isOwnRoom() ? "" : room, elsewhere }, notice, submit);
}

// Returns to the form with a reason. Name and password are forgotten, so that a reload does not use them again.
function refused({ text, name, needsPassword }) {
	leave?.();
	kept.forget("name", "password");
	showLost(false);
	show({ text, name, needsPassword }, startAgain);
}

// With a reload, because Converse.js cannot be started twice in a page
async function startAgain(name, password) {
	const isThere = await getConfig().catch(console.error);
	if (!isThere) return refused({ text: UNREACHABLE, name });
	kept.set("name", name);
	if (password) kept.set("password", password);
	location.reload();
}

async function enter(name, password) {
	hideEntrance();
	forgetOthers();
	kept.set("name", name);
	const [connection] = await Promise.all([
		transport(),
		import("./converse/converse.min.js"),
		addStylesheet("converse/converse.min.css"),
	]).catch((error) => {
		console.error(error);
		return [];
	});
	if (!connection) return refused({ text: UNREACHABLE, name });
	const { converse } = window;
	const guest = guestPlugin(config, isOwnRoom(), { refused, showLost, unreachable: () => refused({ text: UNREACHABLE, name }) });
	leave = guest.leave;
	converse.plugins.add("webchat", guest);
	await converse.initialize({
		...connection,
		allow_adhoc_commands: false,
		allow_bookmarks: false,
		allow_logout: false,
		allow_muc_invitations: false,
		allow_registration: false,
		allow_url_history_change: false,
		assets_path: new URL("converse", location.href).pathname,
		authentication: "anonymous",
		auto_join_rooms: [{ jid: room, nick: name, password }], // enterOwnRoom() replaces it
		auto_login: true,
		auto_register_muc_nickname: false,
		blacklisted_plugins: ["converse-omemo", "converse-omemo-views", "converse-blocklist", "converse-adhoc", "converse-adhoc-views"],
		discover_connection_methods: false,
		jid: config.host,
		keepalive: false,
		loglevel: "warn",
		muc_fetch_members: false,
		muc_history_max_stanzas: 100, // the server has another limit for rooms with an archive
		muc_instant_rooms: false,
		nickname: name,
		persistent_store: "sessionStorage",
		play_sounds: false,
		render_media: false,
		reuse_scram_keys: false,
		show_desktop_notifications: false,
		singleton: true,
		view_mode: "fullscreen",
		visible_toolbar_buttons: { call: false, clear: false, emoji: true, location: false, spoiler: false },
		whitelisted_plugins: ["webchat"],
	});
}

function fail(error) {
	console.error(error);
	tell(config ? "The chat cannot be started." : UNREACHABLE);
}

async function start() {
	config = await getConfig();
	document.title = config.title;
	defaultRoom = config.room;
	if (config.stylesheet) await addStylesheet("custom.css").catch(console.error);
	if (!isSecureContext) return tell("This chat needs a secure connection: open it with https.");
	if (!config.converse) return tell("Converse.js is not installed on this server. Its admin can run: make webchat");

	const asked = requestedRoom(new URL(location.href));
	room = asked === null ? defaultRoom : parseRoom(asked, config.roomHosts);
	if (!room && !defaultRoom) return tell(asked ? "There is no such room here." : "This address does not name a room.");
	// Converse.js reads the fragment as well
	if (asked !== null) history.replaceState(null, "", location.pathname + (room ? "#" + encodeURIComponent(room).replace("%40", "@") : ""));
	addEventListener("hashchange", () => {
		kept.forget("password"); // of the previous room
		location.reload();
	});

	const original = await duplicateOf();
	const name = kept.get("name");
	if (name && (room || !asked)) return enter(name, kept.get("password") ?? undefined);
	let text = "";
	if (!room) text = "There is no such room here. You can join this one.";
	else if (original) text = `Another tab of this chat is open, as ${original}. Choose another name for this one.`;
	room ??= defaultRoom;
	show({ text }, (...answer) => enter(...answer).catch(fail));
}

start().catch(fail);
