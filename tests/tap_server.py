"""A TAP service on this machine: asynchronous jobs over a simulated sky, with the faults of a real one."""

import gzip
import io
import re
import threading
import time
import warnings
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote

import numpy as np
from astropy.io import votable
from astropy.table import MaskedColumn, Table

UCDS = {"source_id": "meta.id;meta.main", "ra": "pos.eq.ra;meta.main", "dec": "pos.eq.dec;meta.main"}
UWS = """<uws:job xmlns:uws="http://www.ivoa.net/xml/UWS/v1.0" xmlns:xlink="http://www.w3.org/1999/xlink" version="1.1">
<uws:jobId>{job}</uws:jobId><uws:phase>{phase}</uws:phase>
<uws:results><uws:result id="result" xlink:href="{url}/async/{job}/results/result"/></uws:results></uws:job>"""
ERROR = '<VOTABLE><RESOURCE><INFO name="QUERY_STATUS" value="ERROR">{}</INFO></RESOURCE></VOTABLE>'


class TapService:
    """Answers queries of the form that the package writes, from a table with the names of the archive.

    Faults are queues: each entry is met by one request of that kind, `start`, `phase` or `result`: a status, or
    "hang", "drop", "truncate", "error", "aborted".

    Without geometry it answers as the Astro Data Lab does: it has no polygons, and NaN for missing numbers, which is
    greater than any number.
    """

    def __init__(self, sky, cap=None, geometry=True):
        self.sky, self.cap, self.geometry = sky, cap, geometry
        self.faults = {"start": [], "phase": [], "result": []}
        self.requests, self.jobs, self.running, self.queries = Counter(), {}, set(), []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/tap-server/tap"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def fault(self, kind):
        self.requests[kind] += 1
        return self.faults[kind].pop(0) if self.faults[kind] else None

    def answer(self, query, limit):
        """The VOTable of a query, or the text of an error."""
        selected = query.split("FROM")[0].removeprefix("SELECT").split(",")
        names = [name.split()[-1].rpartition(".")[2] for name in selected]
        if unknown := [name for name in names if name not in self.sky.colnames]:
            return None, f"Cannot parse query: 1 unresolved identifiers: {unknown[0]} [l.1 c.8 - l.1 c.11] !"
        if "POLYGON" in query and not self.geometry:
            return None, "function point(unknown, double precision, double precision) does not exist"
        mask = (in_box if not self.geometry else in_polygon)(self.sky, query) & meets(self.sky, query, self.geometry)
        limit = min(limit, self.cap or limit)
        return self.sky[names][mask], mask.sum() > limit, limit


def in_polygon(sky, query):
    return winding(sky["ra"], sky["dec"], corners(query))


def in_box(sky, query):
    """Whether stars are in the part of ra of a query that goes over its end; of other boxes `meets` looks at all."""
    beyond = re.search(r"\(gaia\.ra >= (\S+) OR gaia\.ra <= (\S+)\)", query)
    ra = np.asarray(sky["ra"])
    return (ra >= float(beyond[1])) | (ra <= float(beyond[2])) if beyond else np.ones(len(sky), dtype=bool)


def corners(query):
    """ra, dec of the polygon of a query, shape (V, 2)."""
    inner = re.search(r"POLYGON\('ICRS',(.*?)\)\)", query, re.DOTALL)[1]
    return np.array([float(x) for x in inner.split(",")]).reshape(-1, 2)


def meets(sky, query, geometry=True):
    """Whether stars meet the cuts of a query; missing values do not, except NaN as the greatest number."""
    if not geometry:
        sky = Table(
            {name: np.nan_to_num(sky[name], nan=np.inf) for name in sky.colnames if sky[name].dtype.kind == "f"}
        )
    mask = np.ones(len(sky), dtype=bool)
    for name, low, high in re.findall(r"(?:AND|WHERE) (?:gaia|ps1|delve)\.(\w+) BETWEEN (\S+) AND (\S+)", query):
        mask &= np.ma.filled((sky[name] >= float(low)) & (sky[name] <= float(high)), False)
    for name, sign, value in re.findall(r"AND (?:gaia|ps1)\.(\w+) ([<>]=) ([-\d.e+]+)", query):
        mask &= np.ma.filled(sky[name] <= float(value) if sign == "<=" else sky[name] >= float(value), False)
    return mask


def winding(ra, dec, polygon):
    """Whether points are inside a spherical polygon: by the angle it turns through around them."""
    point, corner = (directions(*np.asarray(x, dtype=float)) for x in ((ra, dec), polygon.T))
    turned = np.zeros(len(point))
    for a, b in zip(corner, np.roll(corner, -1, axis=0), strict=True):
        cross = np.einsum(
            "ni,ni->n", point, np.cross(a - point * (point @ a)[:, None], b - point * (point @ b)[:, None])
        )
        turned += np.arctan2(cross, a @ b - (point @ a) * (point @ b))
    return (np.abs(turned) > np.pi) & (point @ corner.mean(0) > 0)


def directions(ra, dec):
    ra, dec = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)


def as_votable(table, overflow):
    """The table as the archive sends it: gzipped, with UCDs, names in capitals where Gaia has them, and its state."""
    table = table.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        document = votable.from_table(table)
        for field in document.get_first_table().fields:
            field.ucd = UCDS.get(field.name)
            field.name = "SOURCE_ID" if field.name == "source_id" else field.name
        state = votable.tree.Info(name="QUERY_STATUS", value="OVERFLOW" if overflow else "OK")
        document.resources[0].infos.append(state)
        file = io.BytesIO()
        document.to_xml(file, tabledata_format="binary2")
    return gzip.compress(file.getvalue(), 1)


def _handler(service):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def reply(self, status, body=b"", **headers):
            self.send_response(status)
            for name, value in {"Content-Length": len(body), "Connection": "close", **headers}.items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(body)

        def met(self, kind):
            """Meet a fault that breaks the request; others are returned."""
            fault = service.fault(kind)
            if fault == "hang":
                time.sleep(4.0)
            if fault in ("hang", "drop"):
                self.close_connection = True
                self.connection.close()
                return True
            if isinstance(fault, int):
                text = "<html><ul><li><b>Message: </b>the server is &lt;tired&gt;.</li></ul></html>"
                self.reply(fault, text.encode())
                return True
            return fault

        def do_POST(self):
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            if "PHASE" in form:
                self.start(unquote(self.path).split("/")[-2])
                return
            if self.met("start") is True:
                return
            service.queries.append(form["QUERY"][0])
            job = str(len(service.queries))
            service.jobs[job] = (form["QUERY"][0], int(form["MAXREC"][0]))
            self.reply(303, Location=f"{service.url}/async/{job}")

        def start(self, job):
            """Run a job; requests may be sent twice, the faults are those of what is asked next."""
            service.running.add(job)
            self.reply(200, UWS.format(job=job, phase="QUEUED", url=service.url).encode())

        def do_GET(self):
            _, job, *what = unquote(self.path).removeprefix("/tap-server/tap/").split("/", 2)
            if what:
                {"results/result": self.result, "error": self.error}[what[0]](*service.jobs[job])
            elif job in service.running:
                self.state(job, *service.jobs[job])
            else:
                self.reply(200, UWS.format(job=job, phase="PENDING", url=service.url).encode())

        def state(self, job, query, limit):
            fault = self.met("phase")
            if fault is True:
                return
            failed = fault == "error" or service.answer(query, limit)[0] is None
            phase = "ABORTED" if fault == "aborted" else "ERROR" if failed else "COMPLETED"
            self.reply(200, UWS.format(job=job, phase=phase, url=service.url).encode())

        def error(self, query, limit):
            answer = service.answer(query, limit)
            self.reply(200, ERROR.format(answer[1] if answer[0] is None else "statement timeout").encode())

        def result(self, query, limit):
            fault = self.met("result")
            if fault is True:
                return
            table, overflow, limit = service.answer(query, limit)
            body = as_votable(table[:limit], overflow)
            self.reply(200, body[: len(body) * 2 // 3] if fault == "truncate" else body)

    return Handler


def simulated_sky(field, number, seed=0):
    """Stars around a field, with gaps, units and the names of the archive."""
    rng = np.random.default_rng(seed)
    phi1 = rng.uniform(field.phi1[0] - 2, field.phi1[1] + 2, number)
    phi2 = rng.uniform(field.phi2[0] - 2, field.phi2[1] + 2, number)
    x, y, z = field.matrix.T @ directions(phi1, phi2).T
    faint = rng.uniform(14, 21, number)
    missing = rng.uniform(size=number) < 0.3
    sky = Table(
        {
            "source_id": rng.permutation(number) + 4_000_000_000_000_000_000,
            "ra": np.degrees(np.arctan2(y, x)) % 360,
            "dec": np.degrees(np.arcsin(z)),
            "parallax": rng.normal(0.1, 0.3, number),
            "phot_g_mean_mag": faint.astype("f4"),
            "phot_variable_flag": rng.choice(["VARIABLE", "NOT_AVAILABLE"], number),
            "original_ext_source_id": MaskedColumn(np.arange(number), mask=missing),
        },
        units={"ra": "deg", "dec": "deg", "parallax": "mas", "phot_g_mean_mag": "mag"},
        descriptions={"parallax": "Parallax"},
    )
    for name in ("angular_distance", "number_of_neighbours", "number_of_mates"):
        sky[name] = MaskedColumn(np.ones(number, dtype="i2"), mask=missing)
    for band in "grizy":
        sky[f"{band}_mean_psf_mag"] = MaskedColumn(np.where(phi2 > 0, faint, -999.0), mask=missing, unit="mag")
        sky[f"{band}_mean_psf_mag_error"] = MaskedColumn(np.full(number, 0.01), mask=missing, unit="mag")
    return sky
