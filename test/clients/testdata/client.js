// Requests of Node's http over ten kept connections: node client.js HOST PORT NAME.
const http = require('node:http')
const { createHash } = require('node:crypto')

const [host, port, name] = process.argv.slice(2)
const agent = new http.Agent({ keepAlive: true, maxSockets: 10 })

function ask (i) {
  const body = Buffer.alloc((i % 5) * 30000, i)
  const path = `/${i}`
  const want = `POST ${path} ${createHash('sha256').update(body).digest('hex')}`
  return new Promise((resolve, reject) => {
    const headers = { Host: name }
    if (i % 2) headers['Content-Length'] = body.length // else in chunks
    const request = http.request({ host, port, path, method: 'POST', agent, headers }, async (response) => {
      let got = ''
      for await (const part of response) got += part
      if (response.statusCode !== 200 || got !== want) reject(new Error(`${response.statusCode} ${got}, want ${want}`))
      resolve(request.socket)
    })
    request.on('error', reject)
    request.write(body.subarray(0, body.length / 2))
    request.end(body.subarray(body.length / 2))
  })
}

Promise.all(Array.from({ length: 500 }, (_, i) => ask(i))).then((sockets) => {
  const opened = new Set(sockets).size
  if (opened > 10) throw new Error(`500 requests took ${opened} connections of an agent that keeps ten`)
  agent.destroy()
}).catch((error) => {
  console.error(error.message)
  process.exit(1)
})
