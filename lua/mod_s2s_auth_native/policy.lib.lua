-- The policy of mod_s2s for certificates: s2s_secure_auth, s2s_secure_domains and s2s_insecure_domains. mod_s2s applies it at the
-- end of s2s-check-certificate, which is not reached because this module answers before.

local FRIENDLY = {
	{ "certificate has expired", "has expired", "has an expired certificate chain" };
	{ "certificate is not yet valid", "is not valid yet", "has a certificate chain that is not valid yet" };
	{ "self signed certificate", "is self-signed" };
	{ "self-signed certificate", "is self-signed" };
	{ "no matching DANE TLSA records", "does not match any DANE TLSA records" };
	{ "permitted subtree violation", "has a name that a name constraint of an authority forbids" };
	{ "excluded subtree violation", "has a name that a name constraint of an authority forbids" };
	{ "unsuitable certificate purpose", "has a purpose that does not allow it" };
	{ "unsupported certificate purpose", "has a purpose that does not allow it" };
};

local function has(texts, wanted)
	for _, text in ipairs(texts or {}) do
		if text == wanted then return true; end
	end
	return false;
end

local secure_auth = module:get_option_boolean("s2s_secure_auth", false);
local secure_domains = module:get_option_set("s2s_secure_domains", {});
local insecure_domains = module:get_option_set("s2s_insecure_domains", {});

local policy = {};

-- errors[depth + 1] are the texts for one certificate.
local function complaint_of(session)
	if session.cert_chain_status == nil then return "could not be validated"; end
	if session.cert_chain_status == "valid" then return "is not valid for this name"; end
	for depth, texts in pairs(session.cert_chain_errors or {}) do
		for _, entry in ipairs(FRIENDLY) do
			local complaint = depth == 1 and entry[2] or entry[3];
			if complaint and has(texts, entry[1]) then return complaint; end
		end
	end
	return "is not trusted";
end

-- Completes "Your server's certificate ". result: of proof.judge(), nil if there is no certificate
function policy.complaint(session, result)
	if result and result.complaint then return result.complaint; end
	return (result and result.matches and "matches a DANE TLSA record, but " or "")..complaint_of(session);
end

local function must_be_secure(host)
	if secure_auth then return not insecure_domains:contains(host); end
	return secure_domains:contains(host);
end

function policy.allows(session, host)
	return not must_be_secure(host)
		or (session.cert_chain_status == "valid" and session.cert_identity_status == "valid");
end

-- Ends the stream. The peer gets the reason; the error replies to senders do not name the server.
function policy.refuse(session, condition, complaint)
	session:close({ condition = condition, text = "Your server's "..complaint }, nil, "Remote server's "..complaint);
end

return policy;
