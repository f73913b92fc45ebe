// A server of Node's standard library: it answers what came, in chunks, and the SHA-256 of the body.
const http = require('node:http')
const { createHash } = require('node:crypto')

const server = http.createServer(async (request, response) => {
  const digest = createHash('sha256')
  for await (const part of request) digest.update(part)
  response.write(`${request.method} ${request.url} `)
  response.end(digest.digest('hex'))
})
server.listen(0, '127.0.0.1', () => console.log(server.address().port))
