import requests

# Upload a model
with open('model.pt', 'rb') as f:
    files = {'file': f}
    params = {
        'project_id': 'my_project',
        'app_name': 'my_app',
        'version': '1.0.0',
        'model_name': 'baseline_model',
        'description': 'Trained model',
        'framework': 'pytorch'
    }
    response = requests.post('http://localhost:8000/models/upload', 
                           files=files, params=params)
    print(response.json())

# List all models
response = requests.get('http://localhost:8000/models/list')
print(response.json())

# List models for a specific project
response = requests.get('http://localhost:8000/models/my_project')
print(response.json())

# List models for a specific project and app
response = requests.get('http://localhost:8000/models/my_project/my_app')
print(response.json())

# List models for a specific project, app and version
response = requests.get('http://localhost:8000/models/my_project/my_app/1.0.0')
print(response.json())

# Download a model
response = requests.get('http://localhost:8000/models/my_project/my_app/1.0.0/baseline_model')
with open('downloaded_model.pt', 'wb') as f:
    f.write(response.content)

# Get model info
response = requests.get('http://localhost:8000/models/my_project/my_app/1.0.0/baseline_model/info')
print(response.json())

# Delete a model
response = requests.delete('http://localhost:8000/models/my_project/my_app/1.0.0/baseline_model')
print(response.json())
