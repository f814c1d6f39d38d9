// Reads calendar files with ical.js: node read ical.js properties|occurrences. Standard input is an array of files, standard
// output an array of events, as calendars.go has them.
const vm = require("node:vm");
const ICAL = require("ical.js");
const what = process.argv[3];
const most = 1000;

function properties(event) {
  return event.getAllProperties().map((p) => {
    const value = p.getFirstValue();
    const parameters = {};
    for (const [name, v] of Object.entries(p.jCal[1])) parameters[name.toUpperCase()] = [v].flat().join(",");
    return { Name: p.name.toUpperCase(), Value: typeof value === "string" ? value : value.toICALString?.() ?? String(value), Parameters: parameters };
  });
}

function occurrences(calendar, event) {
  // Zones are those that the file describes.
  ICAL.TimezoneService.reset();
  for (const zone of calendar.getAllSubcomponents("vtimezone")) ICAL.TimezoneService.register(zone);
  const meeting = new ICAL.Event(event);
  const starts = [];
  const ends = [];
  const iso = (time) => time.toJSDate().toISOString();
  const next = meeting.iterator();
  for (let at = next.next(); at && starts.length < most; at = next.next()) {
    const one = meeting.getOccurrenceDetails(at);
    starts.push(iso(one.startDate));
    ends.push(iso(one.endDate));
  }
  return { Starts: starts, Ends: ends };
}

// Some rules that name days that never come send ical.js round for ever: then it has no answer.
const patience = 3000;
globalThis.occurrences = occurrences;
function withPatience(calendar, event) {
  Object.assign(globalThis, { calendar, event });
  return vm.runInThisContext("occurrences(calendar, event)", { timeout: patience });
}

function read(text) {
  try {
    const calendar = new ICAL.Component(ICAL.parse(text));
    const event = calendar.getFirstSubcomponent("vevent");
    if (what === "occurrences") return withPatience(calendar, event);
    return { Method: calendar.getFirstPropertyValue("method"), Properties: properties(event) };
  } catch (error) {
    return { Error: String(error) };
  }
}

const input = require("node:fs").readFileSync(0, "utf8");
process.stdout.write(JSON.stringify(JSON.parse(input).map(read)));
