// The form in front of the room, and a notice that says why the visitor is not in the room

const $ = (id) => document.getElementById(id);

// Shows a notice, with a button to try again if there is no form
export function tell(text) {
	$("reason").textContent = text;
	$("notice").hidden = !text;
	$("again").hidden = !$("form").hidden;
	$("again").onclick = () => location.reload();
	$("entrance").hidden = false;
	document.body.classList.add("outside");
}

export function hideEntrance() {
	$("entrance").hidden = true;
	document.body.classList.remove("outside");
}

export function showLost(isLost) {
	$("lost").hidden = !isLost;
}

// Normalized, because accents and symbols may consist of several code points that the server does not accept. The server
// removes or refuses invisible characters.
export function cleanName(text) {
	return text.normalize("NFKC").replace(/[\p{Cc}\p{Cf}\p{Default_Ignorable_Code_Point}]/gu, "").replace(/\s+/g, " ").trim();
}

function randomName() {
	const letters = "abcdefghjkmnpqrstuvwxyz23456789";
	const random = crypto.getRandomValues(new Uint8Array(5));
	return "Guest-" + Array.from(random, (n) => letters[n % letters.length]).join("");
}

// Calls submit(name, password). elsewhere: the default room, if this is another one
export function showForm({ title, room, elsewhere }, { text = "", name = "", needsPassword = false }, submit) {
	$("title").textContent = title;
	$("room").textContent = room || "You are talking to our staff only.";
	$("name").value = name;
	$("secret").hidden = !needsPassword;
	$("password").value = "";
	$("elsewhere").hidden = !elsewhere;
	$("other").textContent = elsewhere;
	$("other").href = location.pathname;
	$("form").hidden = false;
	$("form").onsubmit = (event) => {
		event.preventDefault();
		submit(cleanName($("name").value) || randomName(), $("password").value);
	};
	tell(text);
	$(needsPassword ? "password" : "name").focus();
}
