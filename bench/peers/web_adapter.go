// The way of AWS's Lambda Web Adapter: a server with the application is a process of its own on a port of loopback; this
// program asks the Runtime API for events, sends each to the server as an HTTP request, and posts the answer. Both
// connections are kept, and read and written without net/http's client, which takes much more processor time.
package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"
	"unsafe"
)

type event struct {
	RawPath         string            `json:"rawPath"`
	RawQueryString  string            `json:"rawQueryString"`
	Headers         map[string]string `json:"headers"`
	Cookies         []string          `json:"cookies"`
	Body            string            `json:"body"`
	IsBase64Encoded bool              `json:"isBase64Encoded"`
	RequestContext  struct {
		HTTP struct {
			Method string `json:"method"`
		} `json:"http"`
	} `json:"requestContext"`
}

type answer struct {
	StatusCode      int               `json:"statusCode"`
	Headers         map[string]string `json:"headers"`
	Cookies         []string          `json:"cookies,omitempty"`
	Body            string            `json:"body"`
	IsBase64Encoded bool              `json:"isBase64Encoded"`
}

// A kept connection, blocking: Go's poller would cost an epoll_wait for each read.
type connection struct {
	fd     int
	reader *bufio.Reader
}

func connect(address string) *connection {
	to, err := net.ResolveTCPAddr("tcp4", address)
	check(err)
	for {
		fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
		check(err)
		if syscall.Connect(fd, &syscall.SockaddrInet4{Port: to.Port, Addr: [4]byte(to.IP.To4())}) == nil {
			check(syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1))
			made := &connection{fd: fd}
			made.reader = bufio.NewReaderSize(made, 65536)
			return made
		}
		syscall.Close(fd)
		time.Sleep(10 * time.Millisecond) // the server does not listen yet
	}
}

func (c *connection) Read(into []byte) (int, error) {
	for {
		// A raw call: the scheduler need not know of a wait, as nothing else runs meanwhile.
		got, _, errno := syscall.RawSyscall(
			syscall.SYS_READ, uintptr(c.fd), uintptr(unsafe.Pointer(&into[0])), uintptr(len(into)),
		)
		switch {
		case errno == syscall.EINTR:
			continue
		case errno != 0:
			return 0, errno
		case got == 0:
			return 0, io.EOF
		}
		return int(got), nil
	}
}

// Send a request and return the response with its body.
func (c *connection) ask(request []byte) (*http.Response, []byte) {
	for len(request) > 0 {
		sent, err := syscall.Write(c.fd, request)
		if err == syscall.EINTR {
			continue
		}
		check(err)
		request = request[sent:]
	}
	response, err := http.ReadResponse(c.reader, nil)
	check(err)
	body, err := io.ReadAll(response.Body)
	check(err)
	return response, body
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// web_adapter PORT COMMAND…
func main() {
	debug.SetGCPercent(1000) // the real one has no garbage collector
	server := exec.Command(os.Args[2], os.Args[3:]...)
	server.Stdout, server.Stderr = os.Stdout, os.Stderr
	server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // when this process ends
	check(server.Start())
	go func() { log.Fatal("the server has ended: ", server.Wait()) }()
	application := connect("127.0.0.1:" + os.Args[1])
	host := os.Getenv("AWS_LAMBDA_RUNTIME_API")
	api := connect(host)
	next := []byte("GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: " + host + "\r\n\r\n")
	for {
		head, given := api.ask(next)
		made, err := json.Marshal(answered(application.ask(request(given, head.Header))))
		check(err)
		id := head.Header.Get("Lambda-Runtime-Aws-Request-Id")
		post := fmt.Sprintf(
			"POST /2018-06-01/runtime/invocation/%s/response HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n%s",
			id, host, len(made), made,
		)
		api.ask([]byte(post))
	}
}

func request(given []byte, next http.Header) []byte {
	var e event
	check(json.Unmarshal(given, &e))
	body := []byte(e.Body)
	if e.IsBase64Encoded {
		body, _ = base64.StdEncoding.DecodeString(e.Body)
	}
	var made bytes.Buffer
	fmt.Fprintf(&made, "%s %s?%s HTTP/1.1\r\n", e.RequestContext.HTTP.Method, e.RawPath, e.RawQueryString)
	for name, value := range e.Headers {
		if name != "content-length" {
			made.WriteString(name + ": " + value + "\r\n")
		}
	}
	if e.Cookies != nil {
		made.WriteString("cookie: " + strings.Join(e.Cookies, "; ") + "\r\n")
	}
	fmt.Fprintf(&made, "content-length: %d\r\n", len(body))
	made.WriteString("x-amzn-lambda-context: " + next.Get("Lambda-Runtime-Invoked-Function-Arn") + "\r\n\r\n")
	made.Write(body)
	return made.Bytes()
}

func answered(response *http.Response, body []byte) answer {
	made := answer{StatusCode: response.StatusCode, Headers: map[string]string{}, Cookies: response.Header["Set-Cookie"]}
	for name, values := range response.Header {
		if name != "Set-Cookie" {
			made.Headers[strings.ToLower(name)] = strings.Join(values, ", ")
		}
	}
	if utf8.Valid(body) {
		made.Body = string(body)
	} else {
		made.Body, made.IsBase64Encoded = base64.StdEncoding.EncodeToString(body), true
	}
	return made
}
