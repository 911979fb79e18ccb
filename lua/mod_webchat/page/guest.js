// Converse.js as a visitor uses it: it resumes, leaves when the page does, and tells why it may not come in

const FRAMING = "urn:ietf:params:xml:ns:xmpp-framing";

// Reconnects, and resumes the session. Converse.js forgets an anonymous session, and would come back as somebody else,
// beside its own ghost. Stream management resumes it: the server takes the session's id for a password.
function resuming(connection, _converse, jid) {
	const { api } = _converse;

	// Without a session to resume, a new page comes back with the same name; once the server can be reached
	function startOver() {
		fetch("config.json").then(() => location.reload(), connection.debouncedReconnect);
	}

	async function reconnect() {
		connection.reconnecting = true;
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

	connection.reconnect = reconnect;
	connection.debouncedReconnect = () => {
		clearTimeout(timer);
		timer = setTimeout(reconnect, 2000);
	};
}

// A refused login stays refused: the page says why, instead of trying for ever
function explaining(connection, _converse, tell) {
	const { AUTHFAIL } = _converse.env.Strophe.Status;
	const { onConnectStatusChanged, onDisconnected } = connection.constructor.prototype;

	connection.onConnectStatusChanged = function (status, condition, element) {
		const text = status === AUTHFAIL && element?.querySelector("text")?.textContent;
		if (text) tell(text);
		return onConnectStatusChanged.call(this, status, text || condition);
	};
	connection.onDisconnected = function () {
		const refused = this.disconnection_cause === AUTHFAIL;
		return refused ? this.finishDisconnection() : onDisconnected.call(this);
	};
}

// Ends the stream while the page goes: the visitor leaves the room at once. What is sent now is sent, what is answered
// is not heard.
function leave(connection) {
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

export function guestPlugin(config, tell) {
	return {
		initialize() {
			const { _converse } = this;
			const { api } = _converse;

			api.listen.on("connectionInitialized", () => {
				resuming(api.connection.get(), _converse, config.host);
				explaining(api.connection.get(), _converse, tell);
			});
			api.listen.on("streamResumptionFailed", () => location.reload()); // and come back with the same name
			api.listen.on("reconnected", () => _converse.session.save("smacks_resumed", false)); // it may resume again
			addEventListener("pagehide", () => leave(api.connection.get()));
			addEventListener("pageshow", (event) => event.persisted && location.reload());
		},
	};
}
