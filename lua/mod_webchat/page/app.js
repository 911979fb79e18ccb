// The entrance: a room, a name, a transport; then Converse.js
import { askedFor, parseRoom } from "./address.js";
import { guestPlugin } from "./guest.js";

const NAME = "webchat-name"; // in the tab's own storage, so that a reload keeps it
const PROBE_TIMEOUT = 5000; // milliseconds

const $ = (id) => document.getElementById(id);

function tell(text) {
	$("notice").textContent = text;
	$("notice").hidden = false;
	$("entrance").hidden = false;
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

function randomName() {
	const letters = "abcdefghjkmnpqrstuvwxyz23456789";
	const random = crypto.getRandomValues(new Uint8Array(5));
	return "Guest-" + Array.from(random, (n) => letters[n % letters.length]).join("");
}

function cleanName(text) {
	return text.replace(/[\p{Cc}\p{Cf}]/gu, "").replace(/\s+/g, " ").trim();
}

// The address of a service, seen from this page
function serviceUrl(path, websocket) {
	const url = new URL(path, location.href);
	url.hash = url.search = "";
	if (websocket) url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
	return url.href;
}

// Whether a WebSocket can be opened: networks between may not let it through
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

async function enter(config, room, name) {
	$("entrance").hidden = true;
	sessionStorage.clear(); // what Converse.js has kept of who one was before a reload
	sessionStorage.setItem(NAME, name);
	const websocket = serviceUrl(config.websocket, true);
	const [works] = await Promise.all([
		probe(websocket),
		import("./converse/converse.min.js"),
		addStylesheet("converse/converse.min.css"),
	]);
	const { converse } = window;
	converse.plugins.add("webchat", guestPlugin(config, tell));
	await converse.initialize({
		...(works ? { websocket_url: websocket } : { bosh_service_url: serviceUrl(config.bosh) }),
		allow_adhoc_commands: false,
		allow_bookmarks: false,
		allow_logout: false,
		allow_muc_invitations: false,
		allow_registration: false,
		allow_url_history_change: false,
		assets_path: new URL("converse", location.href).pathname,
		authentication: "anonymous",
		auto_join_rooms: [{ jid: room, nick: name }],
		auto_login: true,
		auto_register_muc_nickname: false,
		blacklisted_plugins: ["converse-omemo", "converse-omemo-views", "converse-blocklist", "converse-adhoc", "converse-adhoc-views"],
		discover_connection_methods: false,
		jid: config.host,
		keepalive: false,
		loglevel: "warn",
		muc_fetch_members: false,
		muc_history_max_stanzas: 100, // where the room has no archive; it has its own limit
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

function showForm(config, room) {
	$("title").textContent = config.title;
	$("room").textContent = room;
	$("form").hidden = false;
	$("form").onsubmit = (event) => {
		event.preventDefault();
		enter(config, room, cleanName($("name").value) || randomName()).catch(fail);
	};
	$("name").focus();
}

function fail(error) {
	console.error(error);
	tell("The chat cannot be started. Reload this page to try again.");
}

async function start() {
	const config = await (await fetch("config.json")).json();
	document.title = config.title;
	if (config.stylesheet) await addStylesheet("custom.css").catch(console.error);
	if (!isSecureContext) return tell("This chat needs a secure connection: open it with https.");
	if (!config.converse) return tell("Converse.js is not installed on this server. Its admin can run: make webchat");

	const asked = askedFor(new URL(location.href));
	const room = asked === null ? config.room : parseRoom(asked, config.roomHosts);
	if (!room && !config.room) return tell(asked ? "There is no such room here." : "This address names no room.");
	if (asked !== null) {
		if (!room) tell("There is no such room here. You can join this one.");
		// Converse.js, too, reads the fragment
		history.replaceState(null, "", location.pathname + (room ? "#" + encodeURIComponent(room).replace("%40", "@") : ""));
	}
	addEventListener("hashchange", () => location.reload());

	const name = sessionStorage.getItem(NAME);
	if (name && (room || !asked)) return enter(config, room, name);
	showForm(config, room ?? config.room);
}

start().catch(fail);
