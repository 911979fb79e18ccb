// The room for visitors: errors on entering, participants, title, and a button to request voice
const STANZAS = "urn:ietf:params:xml:ns:xmpp-stanzas";
const MUC_REQUEST = "http://jabber.org/protocol/muc#request";

// Texts for error conditions on entering a room. name: the nickname was refused. own: this text replaces the server's, which
// does not say more.
const CONDITIONS = {
	"conflict": { text: "Somebody has this name already: choose another one.", name: true },
	"not-acceptable": { text: "The room does not accept this name: choose another one.", name: true },
	"jid-malformed": { text: "This name cannot be used: use letters, digits and spaces, of languages that are written in one direction.",
		name: true, own: true },
	"not-authorized": { text: "This room needs a password.", needsPassword: true, own: true },
	"registration-required": { text: "This room is for members only.", own: true },
	"forbidden": { text: "You are banned from this room." },
	"item-not-found": { text: "There is no such room.", own: true },
	"gone": { text: "This room has been closed." },
	"service-unavailable": { text: "The room is full, or closed. Try again later." },
	"resource-constraint": { text: "The room is full. Try again later." },
};
const OTHER = { text: "The room cannot be entered at the moment." };

// Texts for status codes of a visitor who was removed (XEP-0045, section 15.6.2)
const REMOVED = {
	301: "You have been banned from this room.",
	307: "You have been removed from this room.",
	321: "You may not stay in this room any more.",
	322: "This room is for members only now.",
	332: "The room is closed at the moment.",
	333: "The room has lost the connection to you.",
};
const DESTROYED = "This room has been closed."; // there is no code for this
const NEW_NICK = "303";

function explain(error) {
	const condition = Array.from(error.children).find((child) => child.namespaceURI === STANZAS && child.localName !== "text");
	const text = Array.from(error.children).find((child) => child.localName === "text")?.textContent;
	const known = CONDITIONS[condition?.localName] ?? OTHER;
	return { ...known, text: known.own || !text ? known.text : text };
}

// Errors on entering lead back to the form. Later errors, such as a refused change of nickname, are shown in the room.
function explaining(MUC, { refused }) {
	MUC.prototype.onErrorPresence = function (stanza) {
		const { text, name, needsPassword } = explain(stanza.querySelector("error"));
		if (this.isEntered()) return this.createMessage({ type: "error", message: text, is_ephemeral: true });
		const password = needsPassword && this.get("password");
		refused({ text: password ? "The password is wrong." : text, name: name ? "" : this.get("nick"), needsPassword });
	};
	MUC.prototype.handleDisconnection = function ({ codes, reason }) {
		if (codes.includes(NEW_NICK)) return;
		const text = REMOVED[codes.find((code) => REMOVED[code])] ?? DESTROYED;
		refused({ text: reason ? `${text} Reason: ${reason}` : text, name: this.get("nick") });
	};
}

// Proxy of an object that has another value for one property. Converse.js lists authors of old messages and absent owners as
// participants; countingThoseHere() hides them from it.
function showing(object, property, value) {
	return new Proxy(object, {
		get(target, key) {
			if (key === property) return value(target);
			const own = target[key];
			return typeof own === "function" ? own.bind(target) : own;
		},
	});
}

function countingThoseHere(Occupants) {
	const here = (occupants) => occupants.models.filter((occupant) => occupant.get("presence") === "online");
	const { render } = Occupants.prototype;
	Occupants.prototype.render = function () {
		const occupants = showing(showing(this.model.occupants, "models", here), "length", (all) => here(all).length);
		return render.call(showing(this, "model", (element) => showing(element.model, "occupants", () => occupants)));
	};
}

// Requests voice in a moderated room (XEP-0045, section 8.6)
function askToSpeak(muc, env) {
	const { $msg } = env;
	return $msg({ to: muc.get("jid") })
		.c("x", { xmlns: "jabber:x:data", type: "submit" })
		.c("field", { var: "FORM_TYPE" }).c("value").t(MUC_REQUEST).up().up()
		.c("field", { var: "muc#role" }).c("value").t("participant");
}

function offeringToSpeak(Panel, { api, env }) {
	const { html } = env;
	const { render } = Panel.prototype;
	Panel.prototype.render = function () {
		const muc = this.model;
		if (!muc?.isEntered() || muc.canPostMessages()) return render.call(this);
		const ask = () => {
			api.send(askToSpeak(muc, env));
			this.hasAsked = true;
			this.requestUpdate();
		};
		return html`<div class="voice">
			<p>${this.hasAsked ? "You have asked to speak. Wait for a moderator." : "You can read here. To write, ask a moderator."}</p>
			<button type="button" class="btn btn-primary" ?disabled=${this.hasAsked} @click=${ask}>Ask to speak</button>
		</div>`;
	};
}

export function roomOf(_converse, config, page) {
	const { api, exports } = _converse;

	explaining(exports.MUC, page);
	exports.MUC.prototype.getDisplayName = function () {
		const other = this.get("jid") !== config.room && (this.get("name") || this.get("jid"));
		return other ? `${config.title}: ${other}` : config.title;
	};
	api.listen.on("enteredNewRoom", () => page.showLost(false));
	customElements.whenDefined("converse-muc-occupants").then(countingThoseHere);
	customElements.whenDefined("converse-muc-bottom-panel").then((Panel) => offeringToSpeak(Panel, _converse));
}
