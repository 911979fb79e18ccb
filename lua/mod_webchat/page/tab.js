// State of the visitor in the tab's session storage, which survives a reload and a killed tab. A duplicated tab has a copy of the
// storage, but is another visitor.

const PREFIX = "webchat-";
const ID = "tab";
const ANSWER_TIMEOUT = 5000; // milliseconds: the other tab may be busy

export const kept = {
	get: (key) => sessionStorage.getItem(PREFIX + key),
	set: (key, value) => sessionStorage.setItem(PREFIX + key, value),
	forget: (...keys) => keys.forEach((key) => sessionStorage.removeItem(PREFIX + key)),
};

// Removes the state of Converse.js from before a reload
export function forgetOthers() {
	Object.keys(sessionStorage).filter((key) => !key.startsWith(PREFIX)).forEach((key) => sessionStorage.removeItem(key));
}

// Claims the id for as long as the page is open. Resolves to false if another tab has it. A page that was just closed may still
// hold the lock, but does not answer; an open one answers at once.
function hold(id) {
	const name = `webchat ${location.pathname} ${id}`;
	const channel = new BroadcastChannel(name);
	return new Promise((resolve) => {
		let isOurs;
		const decide = (answer) => {
			if (isOurs !== undefined) return;
			isOurs = answer;
			clearTimeout(timer);
			channel.onmessage = ({ data }) => data === "whose" && channel.postMessage("mine");
			if (!isOurs) channel.close();
			resolve(isOurs);
		};
		const timer = setTimeout(decide, ANSWER_TIMEOUT, true);
		channel.onmessage = ({ data }) => data === "mine" && decide(false);
		navigator.locks.request(name, () => {
			decide(true);
			return isOurs ? new Promise(() => {}) : undefined; // holds the lock, or releases it
		});
		channel.postMessage("whose");
	});
}

// Resolves to the name in the tab that this one duplicates; to undefined if this tab is not a duplicate
export async function duplicateOf() {
	const id = kept.get(ID);
	if (id && await hold(id)) return undefined;
	const name = kept.get("name");
	if (id) sessionStorage.clear();
	kept.set(ID, crypto.randomUUID());
	await hold(kept.get(ID));
	return id ? name ?? "" : undefined;
}
