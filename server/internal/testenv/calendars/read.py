"""Reads calendar files: python read icalendar|vobject properties, python read libical occurrences. Standard input is an array
of files, standard output an array of events, as calendars.go has them."""

import ctypes
import ctypes.util
import datetime
import json
import sys

MOST = 1000


def with_icalendar(text):
    import icalendar

    calendar = icalendar.Calendar.from_ical(text)
    event = calendar.walk("VEVENT")[0]
    properties = []
    for name, value in event.property_items(recursive=False):
        if name in ("BEGIN", "END"):
            continue
        shown = str(value) if isinstance(value, str) else value.to_ical().decode()
        parameters = {k.upper(): str(v) for k, v in getattr(value, "params", {}).items()}
        properties.append({"Name": name, "Value": shown, "Parameters": parameters})
    return {"Method": str(calendar["METHOD"]), "Properties": properties}


def with_vobject(text):
    import vobject

    # Of a time it makes a Python object; text is what it was.
    calendar = vobject.readOne(text)
    properties = []
    for line in calendar.vevent.lines():
        parameters = {k.upper(): ",".join(v) for k, v in line.params.items()}
        properties.append({"Name": line.name, "Value": str(line.value), "Parameters": parameters})
    return {"Method": calendar.method.value, "Properties": properties}


class Time(ctypes.Structure):
    """struct icaltimetype of libical 3."""

    _fields_ = [(n, ctypes.c_int) for n in ("year", "month", "day", "hour", "minute", "second", "is_date", "is_daylight")]
    _fields_.append(("zone", ctypes.c_void_p))


class Span(ctypes.Structure):
    """struct icaltime_span."""

    _fields_ = [("start", ctypes.c_int64), ("end", ctypes.c_int64), ("is_busy", ctypes.c_int)]


CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.POINTER(Span), ctypes.c_void_p)


def libical():
    library = ctypes.CDLL(ctypes.util.find_library("ical"))
    library.icalparser_parse_string.restype = ctypes.c_void_p
    library.icalparser_parse_string.argtypes = [ctypes.c_char_p]
    library.icalcomponent_get_first_component.restype = ctypes.c_void_p
    library.icalcomponent_get_first_component.argtypes = [ctypes.c_void_p, ctypes.c_int]
    library.icalcomponent_string_to_kind.argtypes = [ctypes.c_char_p]
    library.icalcomponent_free.argtypes = [ctypes.c_void_p]
    library.icaltime_from_string.restype = Time
    library.icaltime_from_string.argtypes = [ctypes.c_char_p]
    library.icalcomponent_foreach_recurrence.restype = None
    library.icalcomponent_foreach_recurrence.argtypes = [ctypes.c_void_p, Time, Time, CALLBACK, ctypes.c_void_p]
    return library


def with_libical(text, library=[]):
    if not library:
        library.append(libical())
    lib = library[0]
    calendar = lib.icalparser_parse_string(text.encode())
    if not calendar:
        return {"Error": "not a calendar"}
    event = lib.icalcomponent_get_first_component(calendar, lib.icalcomponent_string_to_kind(b"VEVENT"))
    starts, ends = [], []

    def add(_, span, __):
        if len(starts) < MOST:
            for moments, moment in ((starts, span.contents.start), (ends, span.contents.end)):
                moments.append(datetime.datetime.fromtimestamp(moment, datetime.timezone.utc).isoformat())

    first, last = lib.icaltime_from_string(b"19990101T000000Z"), lib.icaltime_from_string(b"22200101T000000Z")
    lib.icalcomponent_foreach_recurrence(event, first, last, CALLBACK(add), None)
    lib.icalcomponent_free(calendar)
    return {"Starts": starts, "Ends": ends}


def read(text):
    reader = {"icalendar": with_icalendar, "vobject": with_vobject, "libical": with_libical}[sys.argv[1]]
    try:
        return reader(text)
    except Exception as error:
        return {"Error": f"{type(error).__name__}: {error}"}


json.dump([read(text) for text in json.load(sys.stdin)], sys.stdout)
