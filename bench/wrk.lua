-- Tunnels' names are no hosts that a resolver knows here: all are on the loopback. wrk asks for the URL's host
-- in the TLS handshake (SNI), as a browser does.
function wrk.resolve(host, service)
   wrk.addrs = { wrk.lookup("127.0.0.1", service)[1] }
end
