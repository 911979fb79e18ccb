// The room that a URL names

const LOCALPART = /^[^\s"&'/:<>@\p{Cc}]{1,255}$/u; // RFC 7622, section 3.3.1

// The bare JID of a room on one of the hosts, or null
export function parseRoom(text, hosts) {
	const at = text.indexOf("@");
	const name = text.slice(0, at).toLowerCase();
	const host = text.slice(at + 1).toLowerCase();
	return at > 0 && LOCALPART.test(name) && hosts.includes(host) ? `${name}@${host}` : null;
}

function decode(text) {
	try {
		return decodeURIComponent(text);
	} catch {
		return text; // parseRoom() rejects it
	}
}

// The room in the fragment or the query, not parsed yet; null if there is none
export function requestedRoom(url) {
	return url.hash.length > 1 ? decode(url.hash.slice(1)) : url.searchParams.get("room");
}
