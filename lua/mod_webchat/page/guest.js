// Converse.js as a visitor uses it: it resumes, leaves when the page does, and tells why it may not come in
import { roomOf } from "./room.js";
import { kept } from "./tab.js";

const FRAMING = "urn:ietf:params:xml:ns:xmpp-framing";
const WEBCHAT = "https://prosody.im/protocol/webchat";

// Reconnects, and resumes the session. Converse.js forgets an anonymous session, and would come back as somebody else,
// beside its own ghost. Stream management resumes it: the server takes the session's id for a password.
function resuming(connection, _converse, jid, showLost) {
	const { api } = _converse;

	// Without a session to resume, a new page comes back with the same name; once the server has one
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
		connection.jid = bound; // an anonymous login names no user, the session that goes on does
	}

	let timer;
	// Over BOSH a request that has failed waits for up to half a minute before it is sent again: too long for a visitor
	// whose network is back
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

// A refused login stays refused, and the page says why, instead of trying for ever; so does a first connection that fails
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

// Ends the stream: the visitor leaves the room at once, also while the page goes. What is sent now is sent, what is answered
// is not heard. Nothing brings this connection back.
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

// The session that a killed tab has left behind is in the room under this tab's name. This one takes its place, and is kept
// for the same end once it has.
async function replaceOld(_converse, host) {
	const { api, env: { $iq } } = _converse;
	const old = kept.get("session");
	const own = _converse.session.get("smacks_stream_id") ?? api.connection.get()._proto.sid;
	if (old && old !== own) {
		const replace = $iq({ type: "set", to: host }).c("replace", { xmlns: WEBCHAT, session: old });
		await api.sendIQ(replace).catch(() => {}); // it has ended already
	}
	if (own) kept.set("session", own);
}

// A room that the visitor is alone in with the agents; after a reload the same one
async function ownRoom(_converse, host) {
	const { api, env: { $iq } } = _converse;
	const [jid, key] = JSON.parse(kept.get("own-room") ?? "[]");
	const asked = $iq({ type: "set", to: host }).c("room", { xmlns: WEBCHAT, ...(jid && { jid, key }) });
	const room = (await api.sendIQ(asked)).querySelector("room");
	kept.set("own-room", JSON.stringify([room.getAttribute("jid"), room.getAttribute("key")]));
	return room.getAttribute("jid");
}

// Converse.js waits for it, and enters the room then
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
				_converse.session.save("smacks_resumed", false); // it may resume again
				page.showLost(false);
			});
			addEventListener("pagehide", () => leave(api.connection.get()));
			addEventListener("pageshow", (event) => event.persisted && location.reload());
		},
	};
}
