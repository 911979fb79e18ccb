// Converse.js for visitors: resumes sessions, leaves rooms with the page, and says why a login was refused
import { roomOf } from "./room.js";
import { kept } from "./tab.js";

const FRAMING = "urn:ietf:params:xml:ns:xmpp-framing";
const WEBCHAT = "https://prosody.im/protocol/webchat";

// Reconnects and resumes the session. Converse.js by itself discards an anonymous session and logs in as another user, while
// the old session stays in the room. The server accepts the id of the session as proof of identity.
function resuming(connection, _converse, jid, showLost) {
	const { api } = _converse;

	// Without a session to resume, reloads the page once the server answers: it logs in again with the same name
	async function startOver() {
		const answer = await fetch("config.json").catch(() => undefined);
		if (!connection.isOut) return answer?.ok ? location.reload() : connection.debouncedReconnect();
	}

	async function reconnect() {
		if (connection.isOut) return;
		connection.reconnecting = true;
		showLost(true);
		if (!_converse.session.get("smacks_stream_id")) return startOver();
		await api.trigger("beforeTearDown", { synchronous: true });
		api.trigger("afterTearDown");
		api.trigger("will-reconnect");
		const bound = connection.jid;
		connection.connect(jid);
		connection.jid = bound; // connect() has set it to the host, but the resumed session has a user
	}

	let timer;
	// Strophe waits up to half a minute before it repeats a failed BOSH request. The network is back now.
	addEventListener("online", () => {
		if (connection._proto.errors > 0) startOver();
	});

	api.listen.on("streamResumptionFailed", startOver);
	connection.reconnect = reconnect;
	connection.debouncedReconnect = () => {
		clearTimeout(timer);
		timer = setTimeout(reconnect, 2000);
	};
}

// Shows why a login was refused, or that the first connection failed, instead of trying again for ever
function explaining(connection, _converse, { refused, unreachable }) {
	const { AUTHFAIL, CONNECTED } = _converse.env.Strophe.Status;
	const { onConnectStatusChanged, onDisconnected } = connection.constructor.prototype;
	let hasBeenIn = false;

	connection.onConnectStatusChanged = function (status, condition, element) {
		const text = status === AUTHFAIL && element?.querySelector("text")?.textContent;
		hasBeenIn ||= status === CONNECTED;
		if (text) refused({ text, name: kept.get("name") });
		return onConnectStatusChanged.call(this, status, text || condition);
	};
	connection.onDisconnected = function () {
		if (connection.isOut) return;
		if (hasBeenIn) return onDisconnected.call(this);
		unreachable();
	};
}

// Closes the stream without waiting for answers, so that the visitor leaves the room at once, also when the page is closed.
// The connection is not used again.
function leave(connection) {
	if (connection) connection.isOut = true;
	if (!connection?.connected || !connection.authenticated) return;
	const socket = connection._proto.socket;
	if (socket) {
		if (socket.readyState !== WebSocket.OPEN) return;
		socket.send("<presence xmlns='jabber:client' type='unavailable'/>");
		socket.send(`<close xmlns='${FRAMING}'/>`);
		socket.close();
	} else {
		const body = connection._proto._buildBody().attrs({ type: "terminate" })
			.c("presence", { xmlns: "jabber:client", type: "unavailable" });
		navigator.sendBeacon(connection.service, new Blob([body.toString()], { type: "text/plain" }));
	}
}

// Replaces the session of a killed tab, which is still in the room with the same nickname. Keeps the id of the current session,
// in case this tab is killed as well.
async function replaceOld(_converse, host) {
	const { api, env: { $iq } } = _converse;
	const old = kept.get("session");
	const own = _converse.session.get("smacks_stream_id") ?? api.connection.get()._proto.sid;
	if (old && old !== own) {
		const replace = $iq({ type: "set", to: host }).c("replace", { xmlns: WEBCHAT, session: old });
		await api.sendIQ(replace).catch(() => {}); // the session has ended
	}
	if (own) kept.set("session", own);
}

// Requests the visitor's own room; after a reload the same one
async function ownRoom(_converse, host) {
	const { api, env: { $iq } } = _converse;
	const [jid, key] = JSON.parse(kept.get("own-room") ?? "[]");
	const asked = $iq({ type: "set", to: host }).c("room", { xmlns: WEBCHAT, ...(jid && { jid, key }) });
	const room = (await api.sendIQ(asked)).querySelector("room");
	kept.set("own-room", JSON.stringify([room.getAttribute("jid"), room.getAttribute("key")]));
	return room.getAttribute("jid");
}

// Converse.js enters the room when this has resolved
async function enterOwnRoom(_converse, config, { refused }) {
	const { api } = _converse;
	const nick = kept.get("name");
	try {
		config.room = await ownRoom(_converse, config.host);
		api.settings.set("auto_join_rooms", [{ jid: config.room, nick }]);
	} catch (error) {
		console.error(error);
		const text = error?.querySelector?.("text")?.textContent;
		refused({ text: text || "The chat cannot be entered at the moment.", name: nick });
	}
}

export function guestPlugin(config, isOwnRoom, page) {
	let _converse;
	return {
		dependencies: ["converse-muc", "converse-muc-views"],

		leave: () => leave(_converse?.api.connection.get()),

		initialize() {
			_converse = this._converse;
			const { api } = _converse;

			api.listen.on("connectionInitialized", () => {
				resuming(api.connection.get(), _converse, config.host, page.showLost);
				explaining(api.connection.get(), _converse, page);
			});
			roomOf(_converse, config, page);
			api.listen.on("afterResourceBinding", (reconnecting) => {
				if (isOwnRoom && !reconnecting) return enterOwnRoom(_converse, config, page);
			});
			api.listen.on("constructedMUCPresence", async (muc, stanza) => {
				await replaceOld(_converse, config.host);
				return stanza;
			});
			api.listen.on("reconnected", () => {
				_converse.session.save("smacks_resumed", false); // else it would not resume again
				page.showLost(false);
			});
			addEventListener("pagehide", () => leave(api.connection.get()));
			addEventListener("pageshow", (event) => event.persisted && location.reload());
		},
	};
}
