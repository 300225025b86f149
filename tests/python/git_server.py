"""Git's own CGI program behind a server that gives it the body by its length, as CGI does. git_server.py PORT FOLDER"""

import http.server
import os
import subprocess
import sys

folder = sys.argv[2]
program = os.path.join(subprocess.check_output(["git", "--exec-path"], text=True).strip(), "git-http-backend")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def run(self):
        path, _, query = self.path.partition("?")
        environment = os.environ | {
            "GIT_PROJECT_ROOT": folder, "GIT_HTTP_EXPORT_ALL": "1", "REQUEST_METHOD": self.command, "PATH_INFO": path,
            "QUERY_STRING": query, "CONTENT_TYPE": self.headers.get("Content-Type", ""), "REMOTE_USER": "me", "REMOTE_ADDR": "127.0.0.1",
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""), "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
        }
        length = self.headers.get("Content-Length")
        if length is None and "Transfer-Encoding" in self.headers:
            self.send_error(400, "no length")
            self.close_connection = True
            return
        body = self.rfile.read(int(length or 0))
        environment["CONTENT_LENGTH"] = str(len(body))
        output = subprocess.run([program], env=environment, input=body, stdout=subprocess.PIPE, check=True).stdout
        head, _, answer = output.partition(b"\r\n\r\n")
        fields = [line.split(b": ", 1) for line in head.split(b"\r\n")]
        status = next((int(value.split()[0]) for name, value in fields if name == b"Status"), 200)
        self.send_response(status)
        for name, value in fields:
            if name != b"Status":
                self.send_header(name.decode(), value.decode())
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = run

    def log_message(self, *arguments):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
