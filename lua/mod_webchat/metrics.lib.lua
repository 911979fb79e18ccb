-- Metrics; README.md lists them

local function metric(kind, name, description, labels)
	return module:metric(kind, name, "", description, labels or {});
end

return {
	visitors = metric("gauge", "visitors", "visitors that are here"):with_labels();
	logins = metric("counter", "logins", "visitors that came"):with_labels();
	refused = metric("counter", "refused", "logins and stanzas of visitors that were refused", { "reason" });
	bars = metric("gauge", "bars", "bars in force"):with_labels();
};
