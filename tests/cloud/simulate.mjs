// Reads simulations as JSON, prints one overall result a line. Run in the folder where npm installed the simulator.
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

const require = createRequire(process.cwd() + '/')
const { runSimulation } = await import(pathToFileURL(require.resolve('@cloud-copilot/iam-simulate')))
let text = ''
for await (const chunk of process.stdin) text += chunk
for (const simulation of JSON.parse(text)) {
  const answer = await runSimulation(simulation, {})
  console.log(answer.resultType === 'error' ? 'error ' + JSON.stringify(answer.errors) : answer.overallResult)
}
