// The error explorer: what a vendor's answer or code means. Reading is pure (and runs under Node in the tests); the page
// is at the end. It follows src/anycap/providers/envelope.py and rows.py; tests/docs/test_explorer.py holds both to the
// same vectors. Nothing here sends or stores anything.
"use strict";

const NOTHING_SAID = new Set(["", "null"]);

// Lending by prefix: an unknown code keeps `unknown`, its beginning only names a category and a scope.
const PREFIXES = [
  ["ERROR_PROXY_", "proxy", "proxy"],
  ["ERROR_IP_BLOCKED", "blocked", "address"],
  ["ERROR_IP_BANNED", "blocked", "address"],
  ["ERROR_RECAPTCHA_INVALID_", "challenge", "challenge"],
];

/** The JSON object in `text`, or a string that says why there is none. */
function decode(text) {
  const inner = text.replace(/^\ufeff/, "").trim();
  if (inner === "") return "an empty body";
  if (inner.startsWith("<")) return "an HTML or XML page";
  // Some vendors' back ends write NaN, which JSON does not know. It is no value for any field that is read here.
  const clean = inner.replace(/"(?:[^"\\]|\\.)*"|-?\b(?:NaN|Infinity)\b/g, (part) => (part[0] === '"' ? part : "null"));
  let value;
  try {
    value = JSON.parse(clean);
  } catch {
    return inner.startsWith("{") ? "broken or truncated JSON" : "no JSON";
  }
  if (value === null || typeof value !== "object" || Array.isArray(value)) return "JSON, but not an object";
  return repeatsAField(clean) ? "a field of the answer occurs twice with different values" : value;
}

/** Whether a field of the outermost object is given twice with different values: nobody can say which one counts. */
function repeatsAField(text) {
  const seen = new Map();
  let depth = 0;
  let key = null;
  let start = 0;
  const close = (end) => {
    if (key === null) return false;
    const value = JSON.stringify(JSON.parse(text.slice(start, end)));
    const again = seen.has(key) && seen.get(key) !== value;
    if (!seen.has(key)) seen.set(key, value);
    key = null;
    return again;
  };
  for (const match of text.matchAll(/"(?:[^"\\]|\\.)*"|[{}[\],:]/g)) {
    const part = match[0];
    if (part[0] === '"') {
      if (depth === 1 && key === null) key = JSON.parse(part);
    } else if (part === "{" || part === "[") {
      depth += 1;
    } else if (part === "}" || part === "]") {
      depth -= 1;
      if (depth === 0 && close(match.index)) return true;
    } else if (part === ":" && depth === 1 && start <= match.index) {
      start = match.index + 1;
    } else if (part === "," && depth === 1) {
      if (close(match.index)) return true;
    }
  }
  return false;
}

function readErrorId(value) {
  if (typeof value === "boolean") return Number(value);
  if (typeof value === "number") return Number.isInteger(value) ? value : String(value);
  if (typeof value !== "string") return null;
  const word = value.trim();
  if (NOTHING_SAID.has(word.toLowerCase())) return null;
  const whole = /^([+-]?[0-9]{1,18})(?:\.0{0,18})?$/.exec(word);
  return whole ? Number(whole[1]) : word;
}

function readErrorCode(value) {
  if (typeof value === "string") return NOTHING_SAID.has(value.trim().toLowerCase()) ? null : value;
  return typeof value === "number" && value !== 0 ? String(value) : null;
}

/** The catalog row for a code or, without one, for a bare number. */
function findRow(vendor, code, errorId) {
  if (code === null) return vendor.ids[errorId] ?? unknownRow(null);
  if (Object.hasOwn(vendor.rows, code)) return { ...vendor.rows[code], vendor_code: code };
  const stripped = code.trim();
  const name = Object.hasOwn(vendor.aliases, stripped) ? vendor.aliases[stripped] : stripped;
  return Object.hasOwn(vendor.rows, name) ? { ...vendor.rows[name], vendor_code: code } : unknownRow(code);
}

function unknownRow(code) {
  const lent = PREFIXES.find(([prefix]) => code !== null && code.startsWith(prefix));
  return {
    code: "unknown",
    category: lent ? lent[1] : "service",
    retry: "never",
    scope: lent ? lent[2] : "request",
    retry_after: null,
    charged: "unknown",
    meaning: code === null ? "The vendor sent an error without a code." : "No catalog lists this code.",
    action: "Read the vendor's description. Nothing is repeated for a code whose meaning is not known.",
    source: "not in the catalog",
    known: false,
    vendor_code: code,
  };
}

/** What an answer of `vendor` says: a row, or null when it is no error. The same as anycap.normalize(). */
function normalize(vendor, text) {
  const body = decode(text);
  if (typeof body === "string") {
    return {
      ...unknownRow(null),
      code: "unreadable_answer",
      category: "service",
      retry: "same",
      scope: "vendor",
      meaning: `The answer cannot be used: ${body}.`,
      action: "Nothing to fix on your side, unless the address is not the vendor's.",
      vendor_id: null,
    };
  }
  const errorId = readErrorId(body.errorId);
  const code = readErrorCode(body.errorCode);
  if (errorId === null ? code === null : errorId === 0) return null;
  const row = findRow(vendor, code, typeof errorId === "number" ? errorId : null);
  if (code !== null && (vendor.not_error_codes.includes(code) || row.category === "progress")) return null;
  return { ...row, vendor_code: code, vendor_id: errorId };
}

/** Keys out of what was pasted, before anything else happens to it. */
function maskKeys(text) {
  return text.replace(/(["']?client_?key["']?\s*[:=]\s*)(["']?)(?!•)[^"'\s,&}]+\2/gi, "$1$2•••••$2");
}

/** Every vendor's reading of `text`: an answer, a vendor's code, or one of the shared codes. */
function explore(data, text, only) {
  const asked = text.trim();
  if (asked === "") return { kind: "nothing", found: [] };
  const vendors = data.vendors.filter((vendor) => !only || vendor.name === only);
  if (Object.hasOwn(data.codes, asked.toLowerCase())) {
    const found = vendors.flatMap((vendor) =>
      Object.entries(vendor.rows)
        .filter(([, row]) => row.code === asked.toLowerCase())
        .map(([name, row]) => ({ vendor, row: { ...row, vendor_code: name } })),
    );
    return { kind: "shared", code: asked.toLowerCase(), found };
  }
  if (/^[A-Za-z0-9_.-]+$/.test(asked)) {
    const name = asked.toUpperCase();
    const numeric = /^[0-9]{1,6}$/.test(asked);
    const rows = vendors.map((vendor) => ({
      vendor,
      row: numeric ? findRow(vendor, null, Number(asked)) : findRow(vendor, name, null),
    }));
    const known = rows.filter(({ row }) => row.known);
    if (known.length) return { kind: "code", found: known };
    return { kind: "unknown", found: rows.slice(0, 1), near: numeric ? [] : nearest(data, name) };
  }
  return { kind: "answer", found: vendors.map((vendor) => ({ vendor, row: normalize(vendor, asked) })) };
}

/** The known codes that share most of their words with `name`. */
function nearest(data, name) {
  const words = new Set(name.split("_").filter((word) => word !== "ERROR" && word !== ""));
  const all = new Set(data.vendors.flatMap((vendor) => Object.keys(vendor.rows)));
  const score = (code) => code.split("_").filter((word) => words.has(word)).length / code.split("_").length;
  return [...all].map((code) => [score(code), code]).filter(([points]) => points > 0)
    .sort((one, other) => other[0] - one[0] || one[1].localeCompare(other[1])).slice(0, 3).map(([, code]) => code);
}

if (typeof module !== "undefined") module.exports = { decode, normalize, findRow, explore, maskKeys };

// The page ------------------------------------------------------------------------------------------------------------

function element(name, options = {}, ...children) {
  const made = Object.assign(document.createElement(name), options);
  made.append(...children);
  return made;
}

const HELPS = {
  never: "nothing, until something is changed",
  same: "the same request again, after the wait",
  new_task: "only a new task",
};

function card(data, vendor, row) {
  if (row === null) {
    return element("article", { className: "ok" }, element("h2", { textContent: vendor.title }),
      element("p", { textContent: "No error: the task is in progress, or the answer holds what was asked for." }));
  }
  const facts = element("dl");
  const fact = (name, ...value) => facts.append(element("dt", { textContent: name }), element("dd", {}, ...value));
  fact("shared code", element("code", { textContent: row.code }), ` ${data.codes[row.code].meaning}`);
  fact("whose problem", data.whose[row.category]);
  fact("what can help", HELPS[row.retry]);
  fact("concerns", row.scope);
  fact("charged", row.charged);
  fact("wait", row.retry_after === null ? "nobody says" : `${row.retry_after} s`);
  fact("meaning", row.meaning);
  fact("what to do", row.action);
  fact("what anycap does", data.does[row.code] ?? data.does[row.category]);
  fact("source", row.source);
  const name = data.exceptions[row.category];
  const clause = `except ${name} as error:  # ${row.code}\n    ...`;
  const copy = element("button", { type: "button", textContent: "Copy" });
  copy.addEventListener("click", () => navigator.clipboard?.writeText(clause).then(() => { copy.textContent = "Copied"; }));
  const head = element("h2", {}, vendor.title, " ", element("code", { textContent: row.vendor_code ?? "" }));
  return element("article", {}, head, facts, element("div", { className: "clause" }, element("pre", { textContent: clause }), copy));
}

function start(data) {
  const input = document.getElementById("answer");
  const select = document.getElementById("vendor");
  const results = document.getElementById("results");
  for (const vendor of data.vendors) select.append(element("option", { value: vendor.name, textContent: vendor.title }));

  const show = () => {
    const masked = maskKeys(input.value);
    if (masked !== input.value) input.value = masked;
    const { kind, found, near } = explore(data, input.value, select.value);
    const cards = found.map(({ vendor, row }) => card(data, vendor, row));
    const said = {
      nothing: "",
      shared: `${found.length} codes map to this shared code.`,
      code: select.value ? "" : `${found.length} of ${data.vendors.length} vendors know this code.`,
      unknown: near?.length ? `No vendor documents this code. Did you mean ${near.join(", ")}?` : "No vendor documents this code.",
      answer: select.value ? "" : "Read as an answer of each vendor. Choose yours to see it alone.",
    }[kind];
    results.replaceChildren(element("p", { className: "said", textContent: said }), ...cards);
  };
  const follow = () => {
    const [vendor, code] = decodeURIComponent(location.hash.slice(1)).split("/");
    if (!vendor) return;
    const known = data.vendors.some((each) => each.name === vendor);
    select.value = known ? vendor : "";
    input.value = code ?? (known ? "" : vendor);
    show();
  };
  input.addEventListener("input", show);
  select.addEventListener("change", show);
  addEventListener("hashchange", follow);
  follow();
}

if (typeof document !== "undefined") start(JSON.parse(document.getElementById("data").textContent));
