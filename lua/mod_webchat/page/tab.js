// What a tab keeps of its visitor: in the tab's own storage, which outlives a reload and a tab that was killed. A duplicated
// tab has a copy of it, and is another visitor.

const PREFIX = "webchat-";
const ID = "tab";
const ANSWER_TIMEOUT = 5000; // milliseconds: an open tab may be busy

export const kept = {
	get: (key) => sessionStorage.getItem(PREFIX + key),
	set: (key, value) => sessionStorage.setItem(PREFIX + key, value),
	forget: (...keys) => keys.forEach((key) => sessionStorage.removeItem(PREFIX + key)),
};

// What Converse.js has kept of who one was before a reload
export function forgetOthers() {
	Object.keys(sessionStorage).filter((key) => !key.startsWith(PREFIX)).forEach((key) => sessionStorage.removeItem(key));
}

// Resolves to whether this tab alone has the id, which it has from now on for as long as the page is open. A page that has
// just gone still holds the lock for a moment, but answers no more; one that is open answers at once.
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
			return isOurs ? new Promise(() => {}) : undefined; // kept, or given back at once
		});
		channel.postMessage("whose");
	});
}

// Resolves to the name of whom this tab is a duplicate of; undefined if it is none
export async function duplicateOf() {
	const id = kept.get(ID);
	if (id && await hold(id)) return undefined;
	const name = kept.get("name");
	if (id) sessionStorage.clear();
	kept.set(ID, crypto.randomUUID());
	await hold(kept.get(ID));
	return id ? name ?? "" : undefined;
}
