"""Metrics: a server exposes those in README.md; and the dashboard's queries, with a real Prometheus."""
import json
import re
import subprocess
import urllib.error
import urllib.parse
import urllib.request

import bed
import suite
from steps import cut, say

FOLDER = bed.PROJECT / "lua/mod_native"
PROMETHEUS = bed.BUILD / "prometheus/usr/bin/prometheus"
OURS = re.compile(r"prosody_mod_(?:smacks|storage_native|s2s_auth_native|webchat)__\w+")
SUFFIXES = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_count", "_sum"]}
GUESTS = "guest.prosody.test"
SCRAPES = 3  # two samples make a rate


class Site(bed.Prosody):
	"""A server with all modules that have metrics."""

	def __init__(self, version, stock_smacks=False):
		super().__init__(version, ["native", "http_openmetrics", "s2s_auth_native"], {
			"storage": "native", "statistics": "internal", "statistics_interval": "manual", "use_dane": False},
			{"rooms.prosody.test": "muc"}, stock_smacks)

	def _config(self):
		return super()._config() + f'VirtualHost "{GUESTS}"\nauthentication = "anonymous"\n' \
			'modules_enabled = { "webchat" }\n'

	def metrics(self):
		with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}/metrics", timeout=10) as answer:
			return answer.read().decode()


def behaviour(name):
	return suite.on_versions(f"native metrics: {name}", Site)


# --- the table ---

def documented():
	"""{name: (type, labels, unit)}"""
	rows = re.findall(r"^\| `(prosody_\w+)` \| (\w+) \| ([\w, ]*) ?\| (\w*) ?\| (\S.*) \|$", (FOLDER / "README.md").read_text(),
		re.M)
	return {name: (kind, tuple(labels.replace(" ", "").split(",")) if labels.strip() else (), unit)
		for name, kind, labels, unit, _ in rows}


def exposed(server):
	"""The same of a server."""
	text = server.metrics()
	kinds, units = (dict(re.findall(rf"^# {word} (\w+) (.*)$", text, re.M)) for word in ("TYPE", "UNIT"))
	labels = {}
	for line in server.lua("""
			local lines = {};
			for name, family in pairs(require "core.statsmanager".get_metric_registry():get_metric_families()) do
				lines[#lines + 1] = name:gsub("/", "__").." "..table.concat(family.label_keys, ",");
			end
			return table.concat(lines, "\\n")""").splitlines():
		name, _, keys = line.partition(" ")
		labels[name] = tuple(keys.split(",")) if keys else ()
	return {name: (kinds[name], labels[name], units[name].strip()) for name in kinds if OURS.fullmatch(name)}


@behaviour("the README's table lists the metrics that a server exposes")
def the_readme_lists_every_metric(server):
	table, found = documented(), exposed(server)
	assert len(table) > 20
	assert table == found, sorted(set(table.items()) ^ set(found.items()))


@behaviour("every sample is exposed once")
def samples_are_unique(server):
	server.login("alice").enable()
	samples = [line.rsplit(" ", 1)[0] for line in server.metrics().splitlines() if OURS.match(line)]
	assert len(samples) > 100 and len(set(samples)) == len(samples), sorted(s for s in samples if samples.count(s) > 1)


# --- values ---

def value(server, sample):
	"""Of a sample with its labels."""
	found = [line.rsplit(" ", 1)[1] for line in server.metrics().splitlines() if line.rsplit(" ", 1)[0] == sample]
	assert len(found) == 1, (sample, found)
	return float(found[0])


@behaviour("sessions and the size of their queues")
def sessions_and_their_queues_are_counted(server):
	def streams(state):
		return value(server, f'prosody_mod_smacks__streams{{host="{server.host}",state="{state}"}}')
	alice, bob = server.login("alice"), server.login("bob")
	alice.enable()
	assert (streams("live"), streams("hibernating")) == (1, 0)
	cut(server, alice)
	say(bob, alice, "one", "two")
	assert (streams("live"), streams("hibernating")) == (0, 1)
	of_host = f'{{host="{server.host}"}}'
	assert value(server, "prosody_mod_smacks__held_stanzas" + of_host) == 2
	assert 0 < value(server, "prosody_mod_smacks__held_bytes" + of_host) < value(server, "prosody_mod_smacks__limit_bytes" + of_host)


@behaviour("transactions and their syncs")
def transactions_are_counted(server):
	store = "prosody_mod_storage_native__"
	before = value(server, store + "transactions_total"), value(server, store + "sync_seconds_count")
	server.account("alice")
	assert value(server, store + "transactions_total") > before[0]
	bed.wait_for(lambda: value(server, store + "sync_seconds_count") > before[1], "a commit was timed")
	bed.wait_for(lambda: value(server, store + "behind") == 0, "all is durable")
	assert 0 < value(server, store + "used_bytes") <= value(server, store + "size_bytes") < value(server, store + "limit_bytes")


# --- the dashboard ---

def dashboard():
	return json.loads((FOLDER / "grafana.json").read_text())


def panels():
	return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def queries():
	return [target["expr"] for panel in panels() for target in panel["targets"]]


@behaviour("the dashboard can be imported, and shows every metric")
def the_dashboard_uses_every_metric(_):
	board = dashboard()
	assert board["title"] and board["schemaVersion"] >= 36 and "id" not in board and "uid" not in board
	variables = {v["name"]: v for v in board["templating"]["list"]}
	assert variables["datasource"]["type"] == "datasource" and variables["datasource"]["query"] == "prometheus"
	source = {"type": "prometheus", "uid": "${datasource}"}
	places = []
	for panel in panels():
		assert panel["title"] and panel["description"] and "id" not in panel, panel
		assert all(each["datasource"] == source for each in [panel, *panel["targets"]]), panel
		assert [t["refId"] for t in panel["targets"]] == [chr(65 + n) for n in range(len(panel["targets"]))], panel
		steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
		assert steps[0]["value"] is None and [s["value"] for s in steps[1:]] == sorted(s["value"] for s in steps[1:]), panel
		box = panel["gridPos"]
		assert box["x"] + box["w"] <= 24, panel
		places += [(x, y) for x in range(box["x"], box["x"] + box["w"]) for y in range(box["y"], box["y"] + box["h"])]
	assert len(places) == len(set(places)), "panels overlap"
	used = {name for query in queries() for name in OURS.findall(query)}
	known = {name + suffix: name for name, (kind, _, _) in documented().items() for suffix in SUFFIXES[kind]}
	assert used <= set(known), used - set(known)
	assert {known[name] for name in used} == set(documented()), set(documented()) - {known[name] for name in used}
	for name in re.findall(r"\$\{?(\w+)", json.dumps(board["panels"])):
		assert name in variables or name == "__rate_interval", name


class Prometheus:
	"""Debian's Prometheus, which reads the metrics of one server every second."""

	def __init__(self, server):
		self.port = bed.Port()
		config = server.directory / "prometheus.yml"
		config.write_text("global: { scrape_interval: 1s }\nscrape_configs:\n  - job_name: prosody\n"
			f'    static_configs: [{{ targets: ["127.0.0.1:{server.http_port}"] }}]\n')
		self.log = server.directory / "prometheus.log"
		with open(self.log, "wb") as log:
			self.process = subprocess.Popen([PROMETHEUS, f"--config.file={config}", "--log.level=warn",
				f"--storage.tsdb.path={server.directory / 'prometheus'}", f"--web.listen-address=127.0.0.1:{self.port.number}"],
				stdout=log, stderr=subprocess.STDOUT, preexec_fn=bed.end_with_parent)

	def ask(self, path, **parameters):
		"""The data of an answer of its API; None before it listens."""
		url = f"http://127.0.0.1:{self.port.number}/api/v1/{path}?" + urllib.parse.urlencode(parameters)
		try:
			with urllib.request.urlopen(url, timeout=10) as answer:
				return json.load(answer)["data"]
		except urllib.error.HTTPError as error:
			assert error.code == 503, (url, error.read().decode())
		except OSError:
			pass
		assert self.process.poll() is None, self.log.read_text()
		return None

	def value(self, query):
		found = self.ask("query", query=query)
		return float(found["result"][0]["value"][1]) if found and found["result"] else 0

	def stop(self):
		self.process.terminate()
		self.process.wait()
		self.port.socket.close()


def refuse_a_visitor(server):
	"""Reasons without a refusal so far have no sample."""
	server.lua(f"""
		for _, item in ipairs(require "core.modulemanager".get_items("metric", "{GUESTS}")) do
			if item.name == "refused" then item.mf:with_labels("{GUESTS}", "any"):add(1); end
		end""")


@behaviour("Prometheus reads the metrics, and every query of the dashboard returns data")
def prometheus_answers_every_query(server):
	refuse_a_visitor(server)
	alice, bob = server.login("alice"), server.login("bob")
	alice.enable()
	prometheus = Prometheus(server)
	try:
		bed.wait_for(lambda: prometheus.value("sum_over_time(up[5m])") >= SCRAPES, "Prometheus has read the metrics", 30)
		say(bob, alice, "one")
		assert prometheus.value('sum(prosody_mod_smacks__streams{state="live"})') == 1
		for query in queries():
			plain = query.replace("$__rate_interval", "1m").replace("$instance", ".*").replace("$host", ".*")
			found = prometheus.ask("query", query=plain)
			assert found and found["result"], query
		for variable in dashboard()["templating"]["list"]:
			if variable["type"] == "query":
				metric, label = re.fullmatch(r"label_values\((\w+).*, (\w+)\)", variable["definition"]).groups()
				assert any(label in series for series in prometheus.ask("series", **{"match[]": metric})), variable
	finally:
		prometheus.stop()
